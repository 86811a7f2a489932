"""Clips encoded on the spot, and real HTTP and RTSP servers on loopback."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.types import Size
from realtime.sources.street.scene import Street
from realtime.sources.synthetic import write_stamp

FPS = 25


def stamped(street: Street, index: int, stamp: int) -> np.ndarray:
    """A frame of the street with `stamp` in its pixels."""
    image = street.draw(index / FPS)
    write_stamp(image, stamp)
    return image


def encode(path: Path, images: list[np.ndarray], pts: list[int] | None = None, codec: str = "libx264", **options: str) -> Path:
    """Write a video at 25 fps; pts in frame intervals."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = pts[number] if pts else number
            frame.time_base = Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_hard_clip(path: Path, codec: str = "libx264", **options: str) -> None:
    """36 numbered pictures of 640x368: B-frames, open GOPs of 12, colours of HD, a quarter turn that the container alone has."""
    width, height = 640, 368
    base = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 16, 3), dtype=np.uint8), (2 * width, 2 * height))
    if codec == "libx264":
        options = {"preset": "faster", "crf": "18", "g": "12", "bf": "3", "x264-params": "open-gop=1"} | options
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if path.suffix == ".mp4":
            stream.set_display_rotation(90, False, False)
        if codec != "mjpeg":
            stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for index in range(36):
            image = base[index : index + height, 2 * index : 2 * index + width].copy()
            cv2.putText(image, str(index), (50, 150), 0, 4, (255, 255, 255), 8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            if codec != "mjpeg":
                frame = frame.reformat(format="yuv420p", dst_colorspace=1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def hard_clip() -> Callable[..., None]:
    return write_hard_clip


@pytest.fixture(scope="session")
def small_street() -> Street:
    return Street(Size(320, 180), objects=4, seed=1)


@pytest.fixture(scope="session")
def images_50(small_street: Street) -> list[np.ndarray]:
    """Fifty frames, each with its own index in its pixels."""
    return [stamped(small_street, index, index) for index in range(50)]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def clip(clips: Path, images_50: list[np.ndarray]) -> Path:
    """Two seconds of H.264 with its index in front, so that a cut file still opens."""
    path = clips / "clip.mp4"
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18", "g": "10"})
        stream.height, stream.width, stream.pix_fmt = 180, 320, "yuv420p"
        for index, image in enumerate(images_50):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def encoder() -> Callable[..., Path]:
    return encode


@contextlib.contextmanager
def reading_of(source: Any) -> Iterator[list[Any]]:
    """A thread reads the source until the block ends, as capture does; the frames so far. Raises its error at the end."""
    frames: list[Any] = []
    errors: list[Exception] = []

    def read() -> None:
        try:
            frames.extend(source)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield frames
    finally:
        source.close()
        thread.join(5)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.fixture
def reading() -> Callable[..., contextlib.AbstractContextManager[list[Any]]]:
    return reading_of


# ---- a stand-in for a webcam --------------------------------------------------------------------------------------


class StandInCamera:
    """A camera that knows 640x480 and 1280x720, keeps 30 fps, and can be pulled out."""

    opened: list[int] = []
    plugged = True
    picture: Any = np.full((720, 1280, 3), 90, np.uint8)
    open_takes_s = 0.0

    def __init__(self, number: int, _api: int) -> None:
        time.sleep(self.open_takes_s)
        type(self).opened.append(number)
        self.properties = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}

    def isOpened(self) -> bool:
        return self.plugged

    def set(self, prop: int, value: float) -> bool:
        if prop != cv2.CAP_PROP_FPS:
            self.properties[prop] = value
        return True

    def get(self, prop: int) -> float:
        return self.properties.get(prop, 0.0)

    def grab(self) -> bool:
        time.sleep(0.005)
        return self.plugged

    def retrieve(self) -> tuple[bool, Any]:
        if self.picture is None or not self.picture.flags.c_contiguous:
            return self.picture is not None, self.picture
        return True, self.picture.copy()

    def release(self) -> None:
        self.plugged = False


@pytest.fixture
def kind() -> type[StandInCamera]:
    """A fresh kind of camera, so that tests do not share state."""
    return type("Camera", (StandInCamera,), {"opened": []})


def plug_in(root: Path, number: int, name: str, index: int = 0, link: str = "") -> None:
    facts = root / f"sys/class/video4linux/video{number}"
    facts.mkdir(parents=True)
    (facts / "name").write_text(name + "\n")
    (facts / "index").write_text(f"{index}\n")
    (root / "dev/v4l/by-id").mkdir(parents=True, exist_ok=True)
    device = root / f"dev/video{number}"
    device.touch()
    if link:
        (root / "dev/v4l/by-id" / link).symlink_to(device)


@pytest.fixture
def plug() -> Callable[..., None]:
    """Puts a camera into a root folder's /dev and /sys."""
    return plug_in


# ---- HTTP ------------------------------------------------------------------------------------------------------------


class _HttpHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.server.pages[self.path.split("?")[0]](self)


class HttpServer(http.server.ThreadingHTTPServer):
    """Pages are functions of the request handler. `stop` ends endless pages too."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _HttpHandler)
        self.pages: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.requests: list[str] = []
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that disconnects is not an error here."""

    def url(self, path: str, userinfo: str = "") -> str:
        return f"http://{userinfo}127.0.0.1:{self.server_address[1]}{path}"

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def mjpeg(
        self, handler: http.server.BaseHTTPRequestHandler, street: Street, frames: int | None = None, **how: object
    ) -> None:
        """Stream JPEG pictures, each with its creation time in its pixels."""
        boundary = how.get("boundary", "frame")
        handler.send_response(200)
        kind = "multipart/x-mixed-replace" + (f"; boundary={boundary}" if boundary else "")
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        index = 0
        while not self.stopping.is_set() and (frames is None or index < frames):
            _, data = cv2.imencode(".jpg", stamped(street, index, time.monotonic_ns()))
            length = how.get("content_length", len(data))
            head = f"--{boundary}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n" if boundary else ""
            handler.wfile.write(head.encode() + data.tobytes() + b"\r\n")
            index += 1
            self.stopping.wait(1 / FPS)
        if how.get("says_end"):
            handler.wfile.write(f"--{boundary}--\r\n".encode())

    @staticmethod
    def file(handler: http.server.BaseHTTPRequestHandler, path: Path, kind: str = "video/mp4") -> None:
        """Serve a file, or the requested range of it."""
        data = path.read_bytes()
        asked = handler.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        start = int(asked) if asked.isdigit() else 0
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.send_header("Accept-Ranges", "bytes")
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[start:])


@pytest.fixture
def http_server() -> Iterator[HttpServer]:
    server = HttpServer()
    yield server
    server.stop()


# ---- RTSP ------------------------------------------------------------------------------------------------------------


@dataclass
class RtspServer:
    """A camera: RTSP over TCP with H.264 in interleaved RTP (RFC 2326, 3550, 6184), only the parts that a client needs.

    password: required, in the authentication of that scheme. silent: accepts and never answers. freeze: sends no more pictures.
    noise: what it sends is noise. redirects_to: where it redirects every other address.
    size: of the pictures; a change takes effect with a keyframe.
    """

    port: int = 0
    password: str = ""
    silent: bool = False
    scheme: str = "Basic"
    redirects_to: str = ""
    fps: int = FPS
    size: Size = field(default_factory=lambda: Size(320, 180))
    freeze: threading.Event = field(default_factory=threading.Event)
    noise: threading.Event = field(default_factory=threading.Event)
    connections: int = 0

    def start(self) -> RtspServer:
        self._stopping = threading.Event()
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)
        return self

    def url(self, userinfo: str = "") -> str:
        return f"rtsp://{userinfo}127.0.0.1:{self.port}/live"

    def drop_clients(self) -> None:
        """Cut every connection, as a camera that loses power does."""
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()
        self._clients.clear()

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_clients()
        for thread in self._threads:
            thread.join()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._clients.append(client)
            self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client, client.makefile("rb") as lines:
            while not self._stopping.is_set():
                head: list[str] = []
                while (line := lines.readline()) not in (b"\r\n", b""):
                    head.append(line.decode().strip())
                if line == b"":
                    return
                if self.silent:
                    continue
                headers = dict(line.split(": ", 1) for line in head[1:])
                method, url, _ = head[0].split()
                client.sendall(self._answer(method, url, headers).encode())
                if method == "PLAY":
                    self._play(client)
                    return

    def _answer(self, method: str, url: str, headers: dict[str, str]) -> str:
        ends = f"CSeq: {headers['CSeq']}\r\n"
        if self.password and not self._is_login(headers.get("Authorization", ""), method):
            realm = 'Basic realm="camera"' if self.scheme == "Basic" else 'Digest realm="camera", nonce="abc"'
            return f"RTSP/1.0 401 Unauthorized\r\n{ends}WWW-Authenticate: {realm}\r\n\r\n"
        if self.redirects_to and method == "DESCRIBE" and (url != self.redirects_to or self.redirects_to == self.url()):
            return f"RTSP/1.0 302 Moved\r\n{ends}Location: {self.redirects_to}\r\n\r\n"
        if method == "DESCRIBE":
            sdp = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            )
            return f"RTSP/1.0 200 OK\r\n{ends}Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        extra = {"OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"}.get(method, "Session: 1\r\n")
        if method == "SETUP":
            extra += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        return f"RTSP/1.0 200 OK\r\n{ends}{extra}\r\n"

    def _is_login(self, given: str, method: str) -> bool:
        if self.scheme == "Basic":
            return given == f"Basic {base64.b64encode(f'admin:{self.password}'.encode()).decode()}"
        facts = dict(re.findall(r'(\w+)="([^"]*)"', given))
        first, second = _md5(f"admin:camera:{self.password}"), _md5(f"{method}:{facts.get('uri')}")
        return facts.get("response") == _md5(f"{first}:abc:{second}")

    def _play(self, client: socket.socket) -> None:
        sequence, index, size, codec = 0, 0, None, None
        due_s = time.monotonic()
        while not self._stopping.is_set():
            if self.freeze.is_set():
                self._stopping.wait(0.05)
                continue
            if size != self.size:
                size = self.size
                street = Street(size, objects=4, seed=1)
                codec = av.CodecContext.create("libx264", "w")
                codec.width, codec.height, codec.pix_fmt, codec.time_base = size.width, size.height, "yuv420p", Fraction(1, 90000)
                codec.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(self.fps), "crf": "20"}
            frame = av.VideoFrame.from_ndarray(stamped(street, index, time.monotonic_ns()), format="bgr24")
            frame.pts = index * 90000 // self.fps
            for packet in codec.encode(frame):
                nals = [nal for nal in bytes(packet).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if nal]
                for number, nal in enumerate(nals):
                    nal = nal[:1] + os.urandom(len(nal) - 1) if self.noise.is_set() else nal
                    sequence = _send_nal(client, nal, sequence, frame.pts, is_last=number == len(nals) - 1)
            index += 1
            due_s += 1 / self.fps
            self._stopping.wait(max(0.0, due_s - time.monotonic()))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _send_nal(client: socket.socket, nal: bytes, sequence: int, timestamp: int, *, is_last: bool) -> int:
    """One NAL unit as a single RTP packet or as FU-A fragments; returns the next sequence number."""
    limit = 1400
    if len(nal) <= limit:
        payloads = [nal]
    else:
        parts = [nal[1:][at : at + limit] for at in range(0, len(nal) - 1, limit)]
        indicator = bytes([(nal[0] & 0xE0) | 28])
        marks = [(0x80 if i == 0 else 0) | (0x40 if i == len(parts) - 1 else 0) for i in range(len(parts))]
        payloads = [indicator + bytes([mark | (nal[0] & 0x1F)]) + part for mark, part in zip(marks, parts, strict=True)]
    for number, payload in enumerate(payloads):
        marker = 0x80 if is_last and number == len(payloads) - 1 else 0
        header = struct.pack(">BBHII", 0x80, marker | 96, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 1)
        client.sendall(struct.pack(">BBH", 0x24, 0, len(header) + len(payload)) + header + payload)
        sequence += 1
    return sequence


@pytest.fixture
def rtsp_servers() -> Iterator[Callable[..., RtspServer]]:
    """Starts cameras; stops them all in the end."""
    started: list[RtspServer] = []

    def start(**how: object) -> RtspServer:
        server = RtspServer(**how).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
