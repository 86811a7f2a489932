"""Functions that build jobs call in the tests: each behaves like a good or bad build."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.errors import BackendUnavailableError, BuildCancelledError, BuildError, EngineNotBuiltError
from engines.plans.passport import Passport
from engines.plans.store import Store

Report = Callable[[str, "float | None"], None]
Options = dict[str, Any]
IsCancelled = Callable[[], bool]


def echo(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    report("thinking", None)
    report("building", 0.5)
    return options


def print_everywhere(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """Prints like native libraries, to file descriptor 1, and reads stdin."""
    print('{"result": "forged"}', flush=True)
    os.write(1, b'{"result": "forged"}\n')
    ctypes.CDLL(None).puts(b'{"result": "forged"}')
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["echo", '{"result": "forged"}'], check=True)
    return {"read": sys.stdin.read()}


def fill_stderr(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """More on stderr than a pipe holds."""
    for _ in range(200):
        os.write(2, b"x" * 10_000 + b"\n")
    return {}


def facts(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    return {"nice": os.nice(0), "session": os.getsid(0), "pid": os.getpid(), "path": sys.path, "cwd": os.getcwd()}  # noqa: PTH109


def refuse(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    raise BackendUnavailableError("no\n  driver", "Install\n one")


def stumble(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    raise KeyError("lost")


def leave(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    sys.exit(3)


def not_json(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    return {"plan": Path()}


def vanish(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    os.write(2, b"first line\n[TRT] the last line\n\n")
    os._exit(options["code"])


def crash(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    os.write(2, b"[TRT] about to read address zero\n")
    ctypes.string_at(0)
    return {}


def kill_itself(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """Ends like a process that the OOM killer ends."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def deliver_then_hang(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """Returns a result while a thread hangs."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    return {"done": True}


def stop_on_cancel(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    report(str(os.getpid()), None)
    while not is_cancelled():
        time.sleep(0.01)
    if "note" in options:
        Path(options["note"]).write_text("stopped by itself")
    raise BuildCancelledError("stopped")


def ignore_cancel(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    report(str(os.getpid()), None)
    time.sleep(60)
    return {}


def ignore_signals(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """Ignores SIGTERM too, and has a child process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(["sleep", "60"])
    report(f"{os.getpid()} {grandchild.pid}", None)
    time.sleep(60)
    return {}


def allocate_memory(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    held = []
    for _ in range(200):
        held.append(os.urandom(4 * 2**20))
        time.sleep(0.01)
    time.sleep(30)
    return {"held": len(held)}


def build_once(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """Like a real build: take the lock, look in the store, build, save."""
    import msgspec

    passport = msgspec.convert(options["passport"], Passport)
    request, environment = passport.request, passport.environment
    store = Store(Path(options["root"]), Path(options["key"]))
    with store.building(request, environment, on_wait=lambda: report("waiting", None)) as scratch:
        try:
            store.read(store.find(request, environment))
            return {"built": False}
        except EngineNotBuiltError:
            pass
        (scratch / "half an engine").write_bytes(b"...")
        report("building", 0.0)
        with Path(options["counter"]).open("a") as counter:
            counter.write("built\n")
        time.sleep(options["seconds"])
        if options.get("fail"):
            raise BuildError("the network cannot be parsed", "Export it again")
        plan = options["plan"].encode()
        assert hashlib.sha256(plan).hexdigest() == passport.plan_sha256
        store.save(passport, plan, b"timings")
        return {"built": True}


def make_key(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """Sign something at a given time, so that several do it at once."""
    from engines.plans.signing import MachineKey

    time.sleep(max(0.0, options["at"] - time.time()))
    return {"signature": MachineKey(Path(options["key"])).sign(b"message")}
