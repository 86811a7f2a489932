"""Build jobs: a child process that reports progress, has limits, and may end in any way without harm to the parent."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engines.building.job import BuildJob, JobProgress
from engines.building.watch import resident_bytes
from engines.errors import BuildCancelledError, BuildError

from .jobs import Start, children, wait_until

pytestmark = pytest.mark.slow


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def reported_pids(job: BuildJob) -> list[int]:
    """The process ids that a function reports as its phase."""
    wait_until(lambda: job.progress.phase[0].isdigit())
    return [int(word) for word in job.progress.phase.split()]


def test_the_options_arrive_and_the_result_comes_back(start: Start) -> None:
    options = {"text": "é\n\"'", "number": 2**60, "none": None, "list": [1.5, {"deep": True}], "long": "x" * 200_000}
    assert start("echo", options).wait() == options


def test_progress_is_reported_and_ends_with_the_last_phase(start: Start) -> None:
    seen: list[JobProgress] = []
    job = start("echo")
    job.wait(seen.append)
    assert (seen[-1].phase, seen[-1].fraction) == ("building", 0.5)
    assert 0 < seen[-1].seconds < 15
    after = job.progress.seconds
    time.sleep(0.02)
    assert job.progress.seconds == after, "the clock stops with the job"


def test_seconds_are_reported_while_the_phase_stays(start: Start) -> None:
    seen: list[JobProgress] = []
    job = start("stop_on_cancel")
    reported_pids(job)

    def look(progress: JobProgress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            job.cancel()

    with pytest.raises(BuildCancelledError):
        job.wait(look)
    assert seen[0].phase == seen[-1].phase
    assert seen[2].seconds > seen[1].seconds + 0.3


def test_progress_never_waits_and_a_result_can_be_read_again(start: Start) -> None:
    job = start("ignore_cancel")
    begin = time.perf_counter()
    for _ in range(1000):
        assert job.progress.seconds >= 0
    assert time.perf_counter() - begin < 0.5
    done = start("echo")
    assert done.wait() == done.wait() == {}


def test_output_of_libraries_does_not_reach_the_protocol(start: Start) -> None:
    assert start("print_everywhere").wait() == {"read": ""}


def test_more_stderr_than_a_pipe_holds_does_not_block(start: Start) -> None:
    assert start("fill_stderr").wait() == {}


def test_the_child_has_a_lower_priority_and_its_own_session(start: Start) -> None:
    facts = start("facts").wait()
    assert facts["nice"] == min(19, os.nice(0) + 10)
    assert facts["session"] == facts["pid"] != os.getsid(0)


def test_the_child_imports_from_the_parents_path_and_not_from_the_working_folder(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "engines.py", "child_targets.py"):
        (tmp_path / name).write_text("raise SystemExit('code from the working folder ran')")
    monkeypatch.chdir(tmp_path)
    facts = start("facts").wait()
    assert facts["path"] == [str(Path(entry).absolute()) for entry in sys.path]
    assert facts["cwd"] == str(tmp_path), "relative paths in options have the same meaning there"


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        ("refuse", {}, r"^no driver\. Install one$"),
        ("stumble", {}, r"^the build failed with KeyError: 'lost' \(child_targets.py, line \d+\)$"),
        ("leave", {}, r"^the build failed with SystemExit: 3 "),
        ("not_json", {}, r"^the build failed with TypeError: .*not JSON serializable"),
        ("no_such_function", {}, r"^the build failed with AttributeError: .*no_such_function"),
        ("vanish", {"code": 0}, r'^the build ended with code 0 and no result, last line "\[TRT\] the last line"\. Try again'),
        ("vanish", {"code": 7}, r'^the build ended with code 7 and no result, last line "\[TRT\] the last line"\. Try again'),
        (
            "crash",
            {},
            r'^the build crashed \(SIGSEGV\), last line "\[TRT\] about to read address zero"\. Try --precision fp32, or',
        ),
        ("kill_itself", {}, r"^the system killed the build \(SIGKILL\), probably for lack of memory\. Close other programs, or"),
    ],
)
def test_every_failure_is_reported_in_one_line(start: Start, function: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        start(function, options).wait()
    assert not isinstance(caught.value, BuildCancelledError)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_module_is_reported(start: Start) -> None:
    with BuildJob("no_such_module:build", {}) as job:
        job.start()
        with pytest.raises(BuildError, match="ModuleNotFoundError: No module named 'no_such_module'"):
            job.wait()


def test_a_child_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with BuildJob("child_targets:echo", {}) as job, pytest.raises(BuildError, match=r"cannot be started .*No such file"):
        job.start()


def test_a_result_counts_if_the_child_hangs_at_exit(start: Start) -> None:
    begin = time.monotonic()
    assert start("deliver_then_hang").wait() == {"done": True}
    assert time.monotonic() - begin < 15


def test_a_build_that_takes_too_long_is_ended(start: Start) -> None:
    before = children()
    job = start("ignore_cancel", timeout_s=1.0)
    assert children() != before
    with pytest.raises(BuildError, match=r"^the build took longer than 1 s\. Allow more with --timeout$"):
        job.wait()
    assert children() == before


def test_a_build_that_needs_too_much_memory_is_ended(start: Start) -> None:
    begin = time.monotonic()
    with pytest.raises(BuildError, match=r"^the build needed more than 0\.2 GiB\. Raise --memory\. Close other programs"):
        start("allocate_memory", memory_limit_bytes=200 * 2**20).wait()
    assert time.monotonic() - begin < 20


def test_a_build_within_its_memory_limit_succeeds(start: Start) -> None:
    assert start("echo", {"small": 1}, memory_limit_bytes=200 * 2**20).wait() == {"small": 1}


def test_resident_memory_is_that_of_the_process() -> None:
    assert 10 * 2**20 < resident_bytes(os.getpid()) < 100 * 2**30
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert resident_bytes(gone.pid) == 0


def test_a_child_that_handles_cancel_stops_by_itself(start: Start, tmp_path: Path) -> None:
    job = start("stop_on_cancel", {"note": str(tmp_path / "note")})
    reported_pids(job)
    begin = time.monotonic()
    job.cancel()
    assert time.monotonic() - begin < 0.05, "cancel returns at once"
    with pytest.raises(BuildCancelledError, match=r"^the build was cancelled$"):
        job.wait()
    assert time.monotonic() - begin < 1.9, "before it would have been terminated"
    assert (tmp_path / "note").read_text() == "stopped by itself"


@pytest.mark.parametrize(("function", "least_s", "most_s"), [("ignore_cancel", 1.9, 4.9), ("ignore_signals", 2.9, 5.9)])
def test_a_child_that_ignores_cancel_is_ended_with_its_own_children(
    start: Start, function: str, least_s: float, most_s: float
) -> None:
    job = start(function)
    pids = reported_pids(job)
    begin = time.monotonic()
    job.cancel()
    with pytest.raises(BuildCancelledError):
        job.wait()
    assert least_s < time.monotonic() - begin < most_s
    wait_until(lambda: not any(map(is_alive, pids)))


def test_closing_does_not_wait_for_a_child_that_ignores_cancel(start: Start) -> None:
    job = start("ignore_signals")
    pids = reported_pids(job)
    begin = time.monotonic()
    job.close()
    assert time.monotonic() - begin < 2.9
    wait_until(lambda: not any(map(is_alive, pids)))
    with pytest.raises(BuildCancelledError):
        job.wait()
    job.close()


def test_cancelling_before_the_start_and_after_the_end_is_harmless(start: Start) -> None:
    early = BuildJob("child_targets:stop_on_cancel", {})
    early.cancel()
    early.start()
    with early, pytest.raises(BuildCancelledError):
        early.wait()
    late = start("echo", {"a": 1})
    assert late.wait() == {"a": 1}
    late.cancel()
    assert late.wait() == {"a": 1}
    BuildJob("child_targets:echo", {}).close()


def test_misuse_raises() -> None:
    job = BuildJob("child_targets:echo", {})
    with pytest.raises(RuntimeError, match="start a BuildJob before waiting"):
        job.wait()
    with pytest.raises(TypeError, match="JSON"):
        BuildJob("child_targets:echo", {"path": Path()})
    with job:
        job.start()
        with pytest.raises(RuntimeError, match="only once"):
            job.start()


def test_a_failing_on_progress_reaches_the_caller_and_the_job_still_closes(start: Start) -> None:
    job = start("ignore_cancel")
    (pid,) = reported_pids(job)

    def fail(progress: JobProgress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), job:
        job.wait(fail)
    assert not is_alive(pid)


@pytest.mark.parametrize(("function", "most_s"), [("stop_on_cancel", 1.5), ("ignore_cancel", 4.0)])
def test_the_child_ends_if_its_parent_is_killed(start: Start, function: str, most_s: float) -> None:
    program = f"""
import sys, time
sys.path[:] = {sys.path!r}
from engines.building.job import BuildJob
job = BuildJob("child_targets:{function}", {{}})
job.start()
while not job.progress.phase[0].isdigit():
    time.sleep(0.01)
print(job.progress.phase, flush=True)
job.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    begin = time.monotonic()
    wait_until(lambda: not is_alive(pid))
    assert time.monotonic() - begin < most_s


def test_ctrl_c_reaches_only_the_parent_which_then_ends_the_child(start: Start) -> None:
    program = f"""
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background, which ignores it
sys.path[:] = {sys.path!r}
from engines.building.job import BuildJob
with BuildJob("child_targets:ignore_cancel", {{}}) as job:
    job.start()
    while not job.progress.phase[0].isdigit():
        time.sleep(0.01)
    try:
        print(job.progress.phase, flush=True)
        job.wait()
    except KeyboardInterrupt:
        print("interrupted, child alive:", Path(f"/proc/{{job.progress.phase}}").exists(), flush=True)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        begin = time.monotonic()
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "interrupted, child alive: True\n"
        assert parent.wait(10) == 0
    assert time.monotonic() - begin < 2.5
    assert not is_alive(pid)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_twenty_jobs_leave_no_process_thread_or_open_file(start: Start) -> None:
    start("echo").wait()
    gc.collect()
    before = open_files(), threading.active_count(), children()
    running = ("stop_on_cancel", "ignore_cancel")
    ends = ("echo", "vanish", "refuse", "kill_itself", *running, "echo", "crash", "print_everywhere", "stumble")
    for _ in range(2):
        jobs = [start(name, {"code": 1}) for name in ends]
        for job, name in zip(jobs, ends, strict=True):
            if name not in running:
                with contextlib.suppress(BuildError):
                    job.wait()
        for job in jobs:
            job.close()
            with contextlib.suppress(BuildError):
                assert job.wait() is not None
    gc.collect()
    assert (open_files(), threading.active_count(), children()) == before
