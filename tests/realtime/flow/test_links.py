"""Links: nothing is lost uncounted, order is kept, and both ends are let go."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.flow.links import Bounded, Closed, Latest, Link

OPERATIONS = st.lists(st.sampled_from(("put", "put", "put", "poll", "get", "nudge", "close", "cancel")), max_size=60)


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.001)


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_link_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"not {capacity}"):
        Bounded[int](capacity)


@given(st.integers(0, 4), OPERATIONS)
def test_whatever_is_done_every_item_is_taken_dropped_or_waiting(capacity: int, operations: list[str]) -> None:
    link: Link[int] = Bounded(capacity) if capacity else Latest()
    put, got = 0, []
    ended = False
    for operation in operations:
        if operation == "put":
            if ended:
                with pytest.raises(Closed):
                    link.put(put)
            elif not capacity or link.waiting < capacity:
                link.put(put)
                put += 1
        elif operation == "get":
            if link.waiting:
                got.append(link.get())
            elif ended:
                with pytest.raises(Closed):
                    link.get()
        elif operation == "poll":
            item = link.poll()
            if item is not None:
                got.append(item)
        else:
            getattr(link, operation)()
            ended = ended or operation in ("close", "cancel")
        counts = link.counts()
        assert counts.put == put == counts.taken + counts.dropped + counts.waiting
        assert counts.taken == len(got)
        assert counts.waiting == link.waiting <= link.capacity
        assert operation != "cancel" or not counts.waiting
        assert link._closed == ended
    assert got == sorted(set(got)), "order is kept and nothing comes twice"


@pytest.mark.parametrize("make", [Latest, lambda: Bounded(1), lambda: Bounded(3)], ids=["latest", "bounded1", "bounded3"])
def test_the_conservation_law_holds_at_every_moment_of_a_race(make: Callable[[], Link[int]]) -> None:
    link, total = make(), 3000
    got: list[int] = []
    broken: list[object] = []
    done = threading.Event()

    def observe() -> None:
        while not done.wait(0.0005):
            counts = link.counts()
            if counts.put != counts.taken + counts.dropped + counts.waiting or counts.waiting > link.capacity:
                broken.append(counts)

    def write() -> None:
        pause = random.Random(1)
        for item in range(total):
            link.put(item)
            if pause.random() < 0.01:
                time.sleep(0.0002)
        link.close()

    threads = [started(observe), started(write), started(lambda: got.extend(link))]
    threads[1].join(30)
    threads[2].join(30)
    done.set()
    threads[0].join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not broken
    assert got == sorted(set(got))
    assert got[-1] == total - 1, "the newest item always arrives"
    assert link.counts() == (total, len(got), total - len(got), 0)
    if isinstance(link, Bounded):
        assert got == list(range(total)), "a bounded link drops nothing"


def test_a_closed_link_is_drained_before_it_says_so() -> None:
    link: Bounded[str] = Bounded(3)
    for item in "abc":
        link.put(item)
    link.close()
    assert list(link) == ["a", "b", "c"]
    with pytest.raises(Closed):
        link.get()
    with pytest.raises(Closed):
        link.put("d")
    assert link.poll() is None
    assert link.counts() == (3, 3, 0, 0), "the refused item counts as never put"


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_a_waiting_reader_is_released(end: str) -> None:
    for wait in ("get", "get_or_nudge"):
        link: Bounded[int] = Bounded(1)
        outcome: list[str] = []

        def read(link: Bounded[int] = link, wait: str = wait, outcome: list[str] = outcome) -> None:
            try:
                getattr(link, wait)()
            except Closed:
                outcome.append("closed")

        thread = started(read)
        time.sleep(0.01)
        getattr(link, end)()
        thread.join(5)
        assert outcome == ["closed"]


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_a_writer_that_waits_for_room_is_released_and_its_item_never_counted(end: str) -> None:
    link: Bounded[int] = Bounded(1)
    link.put(1)
    outcome: list[str] = []

    def write() -> None:
        try:
            link.put(2)
        except Closed:
            outcome.append("closed")

    thread = started(write)
    time.sleep(0.01)
    getattr(link, end)()
    thread.join(5)
    assert outcome == ["closed"]
    assert link.counts() == ((1, 0, 0, 1) if end == "close" else (1, 0, 1, 0))


def test_a_full_bounded_link_holds_its_writer_up() -> None:
    link: Bounded[int] = Bounded(2)
    thread = started(lambda: [link.put(item) for item in range(3)] and None)
    wait_until(lambda: link.waiting == 2)
    time.sleep(0.02)
    assert (thread.is_alive(), link.waiting) == (True, 2)
    assert [link.get() for _ in range(3)] == [0, 1, 2]
    thread.join(5)
    assert not thread.is_alive()


def test_latest_keeps_only_the_newest_and_never_waits() -> None:
    link: Latest[int] = Latest()
    for item in range(1000):
        link.put(item)
    assert link.counts() == (1000, 0, 999, 1)
    assert link.poll() == 999
    assert link.poll() is None


def test_a_reader_gets_one_wake_however_fast_the_writer_is() -> None:
    wakes: list[int] = []
    link: Latest[int] = Latest(lambda: wakes.append(1))
    for item in range(500):
        link.put(item)
    assert len(wakes) == 1
    assert link.poll() == 499
    assert len(wakes) == 1
    link.put(500)
    assert len(wakes) == 2


def test_wakes_pending_never_exceed_one_while_both_ends_race() -> None:
    """F19: one wake per frame would be a hidden queue without end."""
    pending = most = 0
    lock = threading.Lock()
    woken = threading.Semaphore(0)
    got: list[int] = []

    def wake() -> None:
        nonlocal pending, most
        with lock:
            pending += 1
            most = max(most, pending)
        woken.release()

    link: Latest[int] = Latest(wake)

    def read() -> None:
        nonlocal pending
        while not got or got[-1] != 2999:
            assert woken.acquire(timeout=10)
            with lock:
                pending -= 1
            item = link.poll()
            if item is not None:
                got.append(item)

    thread = started(read)
    for item in range(3000):
        link.put(item)
    thread.join(20)
    assert not thread.is_alive(), "the newest item is always announced"
    assert most == 1


def test_a_nudge_wakes_the_reader_without_an_item_and_nudges_do_not_add_up() -> None:
    link: Bounded[int] = Bounded(2)
    link.nudge()
    link.nudge()
    assert link.get_or_nudge() is None
    seen: list[int | None] = []
    thread = started(lambda: seen.append(link.get_or_nudge()))
    time.sleep(0.01)
    assert not seen, "the second nudge was the same nudge"
    link.nudge()
    thread.join(5)
    assert seen == [None]


def test_an_item_goes_before_a_nudge_and_answers_it() -> None:
    link: Bounded[int] = Bounded(2)
    link.put(7)
    link.nudge()
    assert link.get_or_nudge() == 7
    link.close()
    with pytest.raises(Closed):
        link.get_or_nudge()


def test_a_nudge_does_not_wake_a_plain_reader() -> None:
    link: Bounded[int] = Bounded(1)
    seen: list[int] = []
    thread = started(lambda: seen.append(link.get()))
    link.nudge()
    time.sleep(0.01)
    assert (thread.is_alive(), seen) == (True, [])
    link.put(1)
    thread.join(5)
    assert seen == [1]
