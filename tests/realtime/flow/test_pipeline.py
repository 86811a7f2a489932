"""Pipeline: the end of a stream travels down, the first error wins, and no thread is ever left over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from realtime.flow.links import Bounded, Closed, Latest
from realtime.flow.pipeline import Gate, Pipeline


@pytest.fixture(autouse=True)
def _no_thread_is_left(no_thread_is_left: None) -> None:
    """Every test of this file."""


def counted(link: Bounded[int], count: int) -> Callable[[], None]:
    def run() -> None:
        for item in range(count):
            link.put(item)

    return run


def endless(link: Bounded[int]) -> Callable[[], None]:
    def run() -> None:
        while True:
            link.put(0)

    return run


def passed_on(source: Bounded[int], target: Bounded[int]) -> Callable[[], None]:
    def run() -> None:
        for item in source:
            target.put(item)

    return run


def drain(link: Bounded[int]) -> None:
    for _ in link:
        pass


def wait_for(event: threading.Event) -> None:
    event.wait()


def failing(message: str, after_s: float = 0.0) -> Callable[[], None]:
    def run() -> None:
        time.sleep(after_s)
        raise LookupError(message)

    return run


def test_the_end_of_a_stream_drains_every_stage() -> None:
    pipeline, got = Pipeline(), []
    first, second = pipeline.link(Bounded(2)), pipeline.link(Bounded(1))
    pipeline.stage("produce", counted(first, 200), first)
    pipeline.stage("pass", passed_on(first, second), second)
    pipeline.stage("collect", lambda: got.extend(second))
    assert not pipeline.running
    pipeline.start()
    assert pipeline.wait(10) is True
    assert got == list(range(200))
    assert (pipeline.running, pipeline.error) == (False, None)
    assert first.counts() == second.counts() == (200, 200, 0, 0)


def test_the_first_error_wins_and_lets_every_thread_go() -> None:
    pipeline = Pipeline()
    first, second = pipeline.link(Bounded(1)), pipeline.link(Bounded(1))
    left: list[str] = []

    def with_something_open() -> None:
        try:
            passed_on(first, second)()
        finally:
            left.append("closed")

    pipeline.stage("produce", endless(first), first)
    pipeline.stage("pass", with_something_open, second)
    pipeline.stage("wait", pipeline.link(Bounded(1)).get)
    pipeline.stage("fail", failing("first", 0.02))
    pipeline.stage("fail later", failing("second", 0.08))
    pipeline.start()
    with pytest.raises(LookupError, match="first"):
        pipeline.wait(10)
    assert isinstance(pipeline.error, LookupError)
    assert left == ["closed"]
    with pytest.raises(LookupError, match="first"):
        pipeline.wait()
    with pytest.raises(Closed):
        second.put(0)


def test_wait_raises_an_error_only_when_the_other_threads_have_ended() -> None:
    """A caller that hears of the error may rely on files being finished."""
    pipeline, finished = Pipeline(), threading.Event()

    def slow_to_finish() -> None:
        try:
            pipeline.link(Bounded(1)).get()
        finally:
            time.sleep(0.15)
            finished.set()

    pipeline.stage("slow", slow_to_finish)
    pipeline.stage("fail", failing("broken"))
    pipeline.start()
    assert pipeline.wait(0.03) is False, "the other thread has not ended yet"
    assert isinstance(pipeline.error, LookupError)
    with pytest.raises(LookupError):
        pipeline.wait(5)
    assert finished.is_set()


def test_wait_returns_false_when_its_time_has_passed() -> None:
    pipeline = Pipeline()
    link = pipeline.link(Bounded[int](1))
    pipeline.stage("wait", lambda: drain(link))
    pipeline.start()
    start_s = time.monotonic()
    assert pipeline.wait(0.05) is False
    assert 0.04 < time.monotonic() - start_s < 2
    assert pipeline.running
    pipeline.stop()
    assert pipeline.wait(5) is True


@pytest.mark.parametrize("who", ["main", "stage", "other"])
def test_stop_from_any_thread_ends_everything(who: str) -> None:
    pipeline = Pipeline()
    first, second = pipeline.link(Bounded(1)), pipeline.link(Bounded(1))

    def collect() -> None:
        for count, _ in enumerate(second):
            if who == "stage" and count == 20:
                pipeline.stop()

    pipeline.stage("produce", endless(first), first)
    pipeline.stage("pass", passed_on(first, second), second)
    pipeline.stage("collect", collect)
    pipeline.start()
    if who == "main":
        time.sleep(0.02)
        pipeline.stop()
        pipeline.stop()
    elif who == "other":
        other = threading.Thread(target=pipeline.stop)
        other.start()
        other.join()
    assert pipeline.wait(5) is True
    assert pipeline.error is None, "being stopped is no error"


def test_a_reader_that_leaves_early_does_not_hang_its_writer_forever() -> None:
    pipeline = Pipeline()
    link = pipeline.link(Bounded(1))

    def fail_after_one() -> None:
        link.get()
        raise LookupError("reader broke")

    pipeline.stage("produce", endless(link), link)
    pipeline.stage("fail", fail_after_one)
    pipeline.start()
    with pytest.raises(LookupError, match="reader broke"):
        pipeline.wait(5)


def test_links_and_releases_that_come_after_the_stop_are_ended_at_once() -> None:
    pipeline, calls = Pipeline(), []
    pipeline.on_stop(lambda: calls.append("early"))
    pipeline.stop()
    assert calls == ["early"]
    pipeline.on_stop(lambda: calls.append("late"))
    assert calls == ["early", "late"]
    link = pipeline.link(Latest[int]())
    with pytest.raises(Closed):
        link.put(1)


def test_on_stop_unblocks_what_no_link_can() -> None:
    pipeline, camera = Pipeline(), threading.Event()
    pipeline.on_stop(camera.set)
    pipeline.stage("capture", lambda: wait_for(camera))
    pipeline.stage("fail", failing("model broke", 0.02))
    pipeline.start()
    with pytest.raises(LookupError, match="model broke"):
        pipeline.wait(5)


def test_a_release_that_fails_hides_neither_the_error_nor_the_other_releases() -> None:
    pipeline, camera = Pipeline(), threading.Event()
    link = pipeline.link(Bounded[int](1))

    def broken_release() -> None:
        raise OSError("the driver refuses to close")

    pipeline.on_stop(broken_release)
    pipeline.on_stop(camera.set)
    pipeline.stage("capture", lambda: wait_for(camera))
    pipeline.stage("reader", lambda: drain(link))
    pipeline.stage("fail", failing("the cause", 0.01))
    pipeline.start()
    with pytest.raises(LookupError, match="the cause"):
        pipeline.wait(5)


def test_a_release_that_fails_on_a_plain_stop_is_reported() -> None:
    pipeline = Pipeline()
    link = pipeline.link(Bounded[int](1))

    def broken_release() -> None:
        raise OSError("the driver refuses to close")

    pipeline.on_stop(broken_release)
    pipeline.stage("reader", lambda: drain(link))
    pipeline.start()
    pipeline.stop()
    with pytest.raises(OSError, match="refuses"):
        pipeline.wait(5)


def test_even_an_exit_on_a_thread_counts_as_its_error() -> None:
    pipeline = Pipeline()

    def leave() -> None:
        raise SystemExit(3)

    pipeline.stage("leave", leave)
    pipeline.start()
    with pytest.raises(SystemExit):
        pipeline.wait(5)


class Producer:
    """A thread that asks a gate before each item."""

    def __init__(self) -> None:
        self.gate, self.count, self._end = Gate(), 0, False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end:
            self.gate.wait()
            self.count += 1
            time.sleep(0.001)

    def stands_still(self) -> bool:
        time.sleep(0.02)
        before = self.count
        time.sleep(0.03)
        return self.count == before

    def end(self) -> None:
        self._end = True
        self.gate.release()
        self._thread.join(5)


@pytest.fixture
def producer() -> Iterator[Producer]:
    producer = Producer()
    yield producer
    producer.end()


def test_a_paused_gate_holds_and_goes_on(producer: Producer) -> None:
    assert not producer.stands_still()
    producer.gate.set_paused(True)
    assert producer.gate.paused
    assert producer.stands_still()
    producer.gate.set_paused(False)
    assert not producer.stands_still()


def test_each_step_admits_exactly_one(producer: Producer) -> None:
    producer.gate.set_paused(True)
    assert producer.stands_still()
    for _ in range(3):
        before = producer.count
        producer.gate.step()
        assert producer.stands_still()
        assert producer.count == before + 1
    before = producer.count
    producer.gate.step()
    producer.gate.step()
    assert producer.stands_still()
    assert producer.count == before + 2, "steps taken quickly are not lost"


def test_a_step_while_running_is_no_debt(producer: Producer) -> None:
    producer.gate.step()
    producer.gate.set_paused(True)
    assert producer.stands_still()
    before = producer.count
    assert producer.stands_still()
    assert producer.count == before


def test_a_released_gate_never_blocks_again(producer: Producer) -> None:
    producer.gate.set_paused(True)
    assert producer.stands_still()
    producer.gate.release()
    assert not producer.stands_still()


def test_the_gate_says_whether_a_frame_may_pass_and_since_when() -> None:
    changes = []
    gate = Gate(lambda: changes.append(gate.is_open))
    assert (gate.is_open, gate.released_ns) == (True, 0)
    gate.set_paused(True)
    assert not gate.is_open
    before_ns = time.monotonic_ns()
    gate.step()
    assert gate.is_open
    assert gate.released_ns >= before_ns
    gate.wait()
    assert not gate.is_open, "the step is used up"
    threading.Timer(0.02, gate.release).start()
    gate.wait()
    assert gate.is_open
    time.sleep(0.02)
    assert changes == [False, True, True]
