"""A network between an RTSP camera and its reader: it loses packets, delays them, and cuts connections."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from typing import BinaryIO


class RtspProxy:
    """Passes RTSP with interleaved RTP through. loss: share of packets that vanish. jitter_s: the longest delay of a packet."""

    def __init__(self, camera_port: int) -> None:
        self.loss = self.jitter_s = 0.0
        self._camera_port, self._rng = camera_port, random.Random(1)
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, userinfo: str = "") -> str:
        return f"rtsp://{userinfo}127.0.0.1:{self.port}/live"

    def reset(self) -> None:
        """End every connection with a TCP reset."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # wakes its reader, which closes it
        self._open.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                reader, _ = self._listener.accept()
                camera = socket.create_connection(("127.0.0.1", self._camera_port))
                self._open += [reader, camera]
                threading.Thread(target=self._ask, args=(reader, camera), daemon=True).start()
                threading.Thread(target=self._answer, args=(camera, reader), daemon=True).start()

    def _ask(self, reader: socket.socket, camera: socket.socket) -> None:
        with contextlib.suppress(OSError), reader, camera:
            while data := reader.recv(1 << 16):
                camera.sendall(data)

    def _answer(self, camera: socket.socket, reader: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), reader, camera, camera.makefile("rb") as data:
            while first := data.read(1):
                if first == b"$":
                    head = data.read(3)
                    packet = first + head + data.read(int.from_bytes(head[1:], "big"))
                    if self._rng.random() < self.loss:
                        continue
                    time.sleep(self._rng.uniform(0, self.jitter_s))
                    reader.sendall(packet)
                else:
                    reader.sendall(first + self._message(data))

    @staticmethod
    def _message(data: BinaryIO) -> bytes:
        """The rest of one answer, with its body."""
        text, length = b"", 0
        while not text.endswith(b"\r\n\r\n") and (line := data.readline()):
            text += line
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return text + data.read(length)
