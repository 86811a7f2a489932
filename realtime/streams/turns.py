"""Turns: the ports of the inference thread, and whose frames are next. Used with that thread's lock held."""

from collections.abc import Iterator

from engines.segmenter import Segmenter
from realtime.streams.port import Port
from realtime.streams.work import Started


class Turns:
    """The ports that have not ended."""

    def __init__(self) -> None:
        self._ports: list[Port] = []
        self._turn = 0

    def __len__(self) -> int:
        return len(self._ports)

    def __iter__(self) -> Iterator[Port]:
        return iter(self._ports)

    def add(self, port: Port) -> None:
        self._ports.append(port)

    def let_go(self, segmenter: Segmenter) -> None:
        """Forget the streams that have ended."""
        for port in [port for port in self._ports if port.is_done]:
            self._ports.remove(port)
            segmenter.forget(port.number)
            port.segmented.close()

    def take(self, segmenter: Segmenter) -> list[Started]:
        """The frames for the next run: of the streams that are ready, those served longest ago; none where none is."""
        ready = sorted((port for port in self._ports if port.is_ready(segmenter.inflight)), key=lambda port: port.served)
        taken = [Started(port, frame) for port in ready[: segmenter.batch] if (frame := port.take()) is not None]
        for one in taken:
            self._turn += 1
            one.port.served = self._turn
        return taken
