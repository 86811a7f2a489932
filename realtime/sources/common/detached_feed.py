"""Reads that block and cannot be interrupted, on a thread that can be left behind; and a feed that is read so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from realtime.errors import SourceLostError
from realtime.sources.common.base import Picture
from realtime.sources.common.feed import READ_TIMEOUT_S, Feed, Timeouts

_LET_GO_S = 0.3


class Reader:
    """Pictures that a thread of its own reads, one ahead of who takes them. The thread frees what it has read from."""

    def __init__(self, name: str, read: Callable[[], Iterator[Picture]], free: Callable[[], object], let_go_s: float) -> None:
        """name: of the thread. read: on that thread, pictures until the end. let_go_s: how long `close` waits for it."""
        self._name, self._read, self._free, self._let_go_s = name, read, free, let_go_s
        self._changed = threading.Condition()
        self._waiting: list[Picture | Exception | None] = []  # one at most; None is the end
        self._ending = False
        self._thread: threading.Thread | None = None

    def pictures(self, timeout_s: float | None = None, late: Exception | None = None) -> Iterator[Picture]:
        """Until the end, or `interrupt`. Raises what `read` raises, and `late` where a picture takes longer than `timeout_s`."""
        # Daemon: the end of the program must not wait for a server or a driver.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        while (picture := self._next(timeout_s, late)) is not None:
            yield picture

    def interrupt(self) -> None:
        """End `pictures` at once; the thread ends when its read returns. Any thread."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    @property
    def is_ending(self) -> bool:
        return self._ending

    def close(self) -> threading.Thread | None:
        """Interrupt, and free what was read from. Returns the thread where it still hangs: then it frees that later."""
        self.interrupt()
        if self._thread is None:
            self._free()
            return None
        self._thread.join(self._let_go_s)
        return self._thread if self._thread.is_alive() else None

    def _next(self, timeout_s: float | None, late: Exception | None) -> Picture | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting or self._ending, timeout_s):
                raise late or SourceLostError(f"no picture within {timeout_s:g} s")
            if self._ending:  # an error that comes now is of no interest
                return None
            item = self._waiting.pop()
            self._changed.notify_all()
        if isinstance(item, Exception):
            raise item
        return item

    def _run(self) -> None:
        try:
            for picture in self._read():
                self._hand_over(picture)
                if self._ending:
                    return
            self._hand_over(None)
        except Exception as error:
            self._hand_over(error)
        finally:
            self._free()

    def _hand_over(self, item: Picture | Exception | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._ending)
            if not self._ending:
                self._waiting.append(item)
            self._changed.notify_all()


class DetachedFeed:
    """Another feed whose reads block for long and cannot be interrupted."""

    def __init__(self, feed: Feed) -> None:
        self.description, self.fps, self.sound = feed.description, feed.fps, feed.sound
        self._feed = feed
        self._reader = Reader("read", feed.pictures, feed.close, _LET_GO_S)

    @property
    def decoder(self) -> str:
        return self._feed.decoder

    def pictures(self) -> Iterator[Picture]:
        return self._reader.pictures()

    def interrupt(self) -> None:
        self._reader.interrupt()

    def close(self) -> threading.Thread | None:
        return self._reader.close()


def detached_if_slow(feed: Feed, timeouts: Timeouts) -> Feed:
    """`feed`, read on another thread where a read may block for longer than closing may take."""
    return DetachedFeed(feed) if timeouts.read_s > READ_TIMEOUT_S else feed
