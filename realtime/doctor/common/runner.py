"""Runs checks in child processes: one that crashes, as a broken library does, or hangs is a line of the report like any other."""

import contextlib
import json
import logging
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from engines.system.unfinished import unfinished
from realtime.doctor import limit_s
from realtime.doctor.common.finding import Finding, problem
from realtime.doctor.common.machine import Machine

log = logging.getLogger(__name__)

BOOTSTRAP = (
    "import json, sys; said = json.loads(sys.argv[1]); sys.path[:] = said['path']; "
    "from realtime.doctor.common.worker import main; main(said['registries'])"
)
"""The child uses the import path of this process, and not the working folder."""

REGISTRIES = ("realtime.doctor", "engines.backends", "engines.families")
"""Packages to which a program may have added folders of its own (docs/extending.md)."""

MOST_WORKERS = 3
"""Most checks wait for something else than a processor: a library from the disk, a program."""

LAST_S = 3.0
"""On top of a check's own limit: the start of its child."""


class Report(NamedTuple):
    """All that one check found."""

    check: str
    findings: tuple[Finding, ...]
    seconds: float


def run(names: Sequence[str], limits_s: dict[str, float] | None = None) -> Iterator[Report]:
    """The reports of these checks, in this order, each as soon as it and those before it are there. Never raises.

    limits_s: instead of the checks' own. No child is left at the end, unless the system cannot end it.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    done: queue.SimpleQueue[Report] = queue.SimpleQueue()
    work = (waiting, done, limits_s or {})
    try:
        for _ in range(min(MOST_WORKERS, len(names))):
            threading.Thread(target=_serve, args=work, name="doctor", daemon=True).start()
    except RuntimeError:  # the system starts no more threads: the others do the work, or this one
        _serve(*work)
    reports: dict[str, Report] = {}
    for name in names:
        while name not in reports:
            report = done.get()
            reports[report.check] = report
        yield reports.pop(name)


def _serve(waiting: "queue.SimpleQueue[str]", done: "queue.SimpleQueue[Report]", limits_s: dict[str, float]) -> None:
    """Ask one child after another, until nothing waits. A child is used again as long as it answers."""
    child: Child | None = None
    try:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            start_s = time.monotonic()
            try:
                child = child or Child()
                findings = child.ask(name, limits_s.get(name) or limit_s(name))
            except OSError as error:  # the system starts no more processes
                cure = "ulimit -u  # so many are allowed: close other programs"
                findings = [problem(name, f"not looked at: no process can be started ({error.strerror})", cure)]
            except Exception:  # a fault of this module: the report goes on
                log.exception("check %s", name)
                findings = [problem(name, "not looked at: its answer could not be read", _again(name))]
                if child is not None:
                    child.end()
            if child is not None and not child.is_alive:
                child = None
            done.put(Report(name, tuple(findings), time.monotonic() - start_s))
    finally:
        if child is not None:
            child.end()


class Child:
    """One process that runs checks, and everything that it starts."""

    def __init__(self) -> None:
        """Raises OSError where the system refuses."""
        path = [str(Path(entry).absolute()) for entry in sys.path if entry]
        folders = {name: list(sys.modules[name].__path__) for name in REGISTRIES if name in sys.modules}
        registries = {name: places for name, places in folders.items() if len(places) > 1}
        pipe = subprocess.PIPE
        self._errors = _file_of_errors()
        command = [sys.executable, "-c", BOOTSTRAP, json.dumps({"path": path, "registries": registries})]
        errors: Any = self._errors or subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, bufsize=0, start_new_session=True)
        except BaseException:
            if self._errors is not None:
                self._errors.close()
            raise
        self.is_alive = True
        self._last_line, self._errors_start = "", 0
        self._rest = b""
        self._at_once = contextlib.ExitStack()
        self._at_once.enter_context(unfinished(self._kill))

    def ask(self, name: str, limit_s: float) -> list[Finding]:
        """What the check finds; or one problem, where it crashes or takes longer than `limit_s`."""
        self._errors_start = os.fstat(self._errors.fileno()).st_size if self._errors is not None else 0
        due_s, step = time.monotonic() + limit_s + LAST_S, ""
        with contextlib.suppress(BrokenPipeError):
            os.write(_pipe(self._process.stdin), json.dumps(name).encode() + b"\n")
        with selectors.DefaultSelector() as selector:
            selector.register(_pipe(self._process.stdout), selectors.EVENT_READ)
            while True:
                for message in self._messages(selector, due_s):
                    if "step" in message:
                        step = message["step"]
                        due_s = min(due_s, time.monotonic() + limit_s)  # it has started
                        continue
                    if message["trace"]:
                        log.debug("check %s\n%s", name, message["trace"])
                    return [Finding(*finding) for finding in message["findings"]]
                if not self.is_alive:
                    return [self._lost(name, step)]
                if time.monotonic() >= due_s:
                    self.end()
                    while_step = f", while {step}" if step else ""
                    return [problem(name, f"no answer within {limit_s:g} s{while_step}", _again(name))]

    def end(self) -> None:
        """End the process and all that it started, at once. Waits a moment for it, since a device driver may hold it."""
        self.is_alive = False
        self._kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        if self._errors is not None:
            self._last_line = _last_line(self._errors, self._errors_start)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
        self._at_once.close()

    def _messages(self, selector: selectors.BaseSelector, due_s: float) -> list[dict[str, Any]]:
        """The next messages; none when the time is over, or the child has ended."""
        if not selector.select(max(0.0, due_s - time.monotonic())):
            return []
        data = os.read(_pipe(self._process.stdout), 65536)
        if not data:
            self.is_alive = False
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _lost(self, name: str, step: str) -> Finding:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        self.end()
        how = f"ended with code {code}"
        if code is not None and code < 0:
            how = f"crashed ({signal.Signals(-code).name})"
        while_step = f" while {step}" if step else ""
        said = f': "{self._last_line}"' if self._last_line else ""
        return problem(name, f"the check {how}{while_step}{said}", _cure_of_crash(step, code) or _again(name))

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)


def _file_of_errors() -> IO[bytes] | None:
    """What the child prints to stderr, such as the last words of a library; None where no file can be made."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return None


def _last_line(file: IO[bytes], start: int) -> str:
    """The last line of what was printed from that byte on, in so far as it fits into a report."""
    file.seek(max(start, os.fstat(file.fileno()).st_size - 4096))
    lines = [" ".join(line.split()) for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:160] if lines else ""


def _cure_of_crash(step: str, code: int | None) -> str:
    """A library that crashes while it is imported is not the one that its package was built with."""
    from realtime.doctor.common.packages import package_of

    if not step.startswith("importing "):
        return ""
    package = package_of(step.removeprefix("importing ").partition(".")[0])
    note = "  # this processor lacks instructions that it uses" if code == -signal.SIGILL else ""
    return Machine().pip("install", f"--force-reinstall --no-cache-dir {package}{note}")


def _again(name: str) -> str:
    return f"{Machine().run} doctor {name} --verbose"


def _pipe(stream: IO[bytes] | None) -> int:
    assert stream is not None, "started with pipes"
    return stream.fileno()
