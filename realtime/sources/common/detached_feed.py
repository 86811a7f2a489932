"""A feed whose reads block for long and cannot be interrupted, on a thread that can be left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from realtime.sources.common.base import Picture
from realtime.sources.common.feed import Feed

_LET_GO_S = 0.3


class DetachedFeed:
    """Passes on another feed's pictures, which a thread of its own reads, one ahead. The thread also closes that feed.

    `interrupt` ends `pictures` at once; the thread ends when its read returns.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.description, self.fps, self.sound = feed.description, feed.fps, feed.sound
        self._changed = threading.Condition()
        self._waiting: list[Picture | Exception | None] = []  # one at most; None is the end
        self._ending = False
        self._reader: threading.Thread | None = None

    def pictures(self) -> Iterator[Picture]:
        # Daemon: the end of the program must not wait for a server.
        self._reader = threading.Thread(target=self._read, name="read", daemon=True)
        self._reader.start()
        while (picture := self._next()) is not None:
            yield picture

    def interrupt(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def close(self) -> threading.Thread | None:
        self.interrupt()
        if self._reader is None:
            return self._feed.close()
        self._reader.join(_LET_GO_S)
        return self._reader if self._reader.is_alive() else None

    def _next(self) -> Picture | None:
        """The next picture; None at the end, or when interrupted. Raises what the reader has raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            if self._ending:  # an error that comes now is of no interest
                return None
            item = self._waiting.pop()
            self._changed.notify_all()
        if isinstance(item, Exception):
            raise item
        return item

    def _read(self) -> None:
        """On the reader's thread: pictures until the end, an error or `interrupt`."""
        try:
            for picture in self._feed.pictures():
                self._hand_over(picture)
                if self._ending:
                    return
            self._hand_over(None)
        except Exception as error:
            self._hand_over(error)
        finally:
            self._feed.close()

    def _hand_over(self, item: Picture | Exception | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._ending)
            if not self._ending:
                self._waiting.append(item)
            self._changed.notify_all()
