"""Links: how one thread hands work to the next. A link has one writer and one reader, and knows how to end.

The writer ends a stream with `close()`: the reader gets the items that wait, then `Closed`. Any thread ends it at once with
`cancel()`: waiting items are dropped (and counted), and both sides get `Closed`. At any moment each item is counted once:
`put_count == taken + dropped + waiting`.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The link has ended: how the end of a stream travels from thread to thread. Not an error."""


class Counts(NamedTuple):
    """A link's items at one moment: put == taken + dropped + waiting."""

    put: int
    taken: int
    dropped: int
    waiting: int


class Link(Generic[T]):
    """What `Latest` and `Bounded` share. `capacity` items wait at most; what happens at the limit is the subclass's rule."""

    def __init__(self, capacity: int, changed: threading.Condition | None = None) -> None:
        """changed: shared by links that one reader waits for together (`take_any`)."""
        if capacity < 1:
            raise ValueError(f"a link needs room for at least one item, not {capacity}")
        self.capacity = capacity
        self.put_count = 0
        self.taken = 0
        self.dropped = 0
        self.cancelled = 0
        """Of those dropped: what `cancel` found waiting."""
        self._items: deque[T] = deque()
        self._closed = False
        self._nudged = False
        self._changed = changed or threading.Condition()

    @property
    def waiting(self) -> int:
        return len(self._items)

    @property
    def displaced(self) -> int:
        """Those dropped because the reader was too slow, and not by `cancel`."""
        with self._changed:
            return self.dropped - self.cancelled

    def counts(self) -> Counts:
        """All counts of one moment; fields read one by one may be of different moments."""
        with self._changed:
            return Counts(self.put_count, self.taken, self.dropped, len(self._items))

    def put(self, item: T) -> None:
        """Hand over `item`. Raises Closed when the link has ended; the item is then not counted."""
        raise NotImplementedError

    def get(self) -> T:
        """Wait for the next item. Raises Closed when the link has ended and nothing waits."""
        with self._changed:
            while not self._items:
                if self._closed:
                    raise Closed
                self._changed.wait()
            return self._take()

    def __iter__(self) -> Iterator[T]:
        """Items until the link has ended."""
        while True:
            try:
                item = self.get()
            except Closed:
                return
            yield item

    def get_or_nudge(self) -> T | None:
        """Like `get`, but returns None after a `nudge`, when no item waits."""
        with self._changed:
            while not self._items and not self._nudged:
                if self._closed:
                    raise Closed
                self._changed.wait()
            self._nudged = False
            return self._take() if self._items else None

    def nudge(self) -> None:
        """Wake a reader that waits in `get_or_nudge`. Nudges do not add up."""
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def poll(self) -> T | None:
        """The next item if one waits, else None; never blocks."""
        with self._changed:
            return self._take() if self._items else None

    def close(self) -> None:
        """No more items come; what waits is still delivered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """End now: what waits is dropped, both ends are released."""
        with self._changed:
            self._closed = True
            self.dropped += len(self._items)
            self.cancelled += len(self._items)
            self._items.clear()
            self._changed.notify_all()

    def _take(self) -> T:
        item = self._items.popleft()
        self.taken += 1
        self._changed.notify_all()
        return item

    def _append(self, item: T) -> None:
        self._items.append(item)
        self.put_count += 1
        self._changed.notify_all()


class Latest(Link[T]):
    """One slot. A new item replaces an unread one (which is dropped and counted); the writer never waits.

    on_arrival: called by the writer after it filled the *empty* slot. A slot that is still full was announced before, so
    a reader that polls once per call has at most one wake-up pending, however fast the writer is.
    """

    def __init__(self, on_arrival: Callable[[], None] | None = None) -> None:
        super().__init__(1)
        self._on_arrival = on_arrival

    def put(self, item: T) -> None:
        with self._changed:
            if self._closed:
                raise Closed
            was_empty = not self._items
            if not was_empty:
                self._items.clear()
                self.dropped += 1
            self._append(item)
        if was_empty and self._on_arrival is not None:
            self._on_arrival()


class Bounded(Link[T]):
    """A short queue. With `put` a full one makes the writer wait; with `offer` the new item is dropped instead, and counted."""

    def put(self, item: T) -> None:
        with self._changed:
            while len(self._items) >= self.capacity and not self._closed:
                self._changed.wait()
            if self._closed:
                raise Closed
            self._append(item)

    def offer(self, item: T) -> bool:
        """Hand over `item` without waiting. False when the queue was full: `item` then counts as put and dropped."""
        with self._changed:
            if self._closed:
                raise Closed
            if len(self._items) >= self.capacity:
                self.put_count += 1
                self.dropped += 1
                return False
            self._append(item)
            return True

    def force(self, item: T) -> None:
        """Hand over `item` without waiting, even beyond the capacity: for the few items that must not be lost."""
        with self._changed:
            if self._closed:
                raise Closed
            self._append(item)

    def supersede(self, item: T, merge: Callable[[T, T], T] = lambda dropped, newer: newer) -> None:
        """Hand over `item` in place of all that wait: these are dropped, and counted. Never waits.

        merge: makes what is handed over of a dropped item and the newer one.
        """
        with self._changed:
            if self._closed:
                raise Closed
            for dropped in reversed(self._items):
                item = merge(dropped, item)
            self.dropped += len(self._items)
            self._items.clear()
            self._append(item)


def take_any(links: Sequence[Link[T]], after: int = -1) -> tuple[int, T]:
    """Wait for the next item of any of these links, which share their condition: the link's place, and the item.

    after: the place served last; the search begins behind it, so that each link has its turn. Raises Closed when all have ended.
    """
    with links[0]._changed:
        while True:
            for step in range(len(links)):
                place = (after + 1 + step) % len(links)
                if links[place]._items:
                    return place, links[place]._take()
            if all(link._closed for link in links):
                raise Closed
            links[0]._changed.wait()
