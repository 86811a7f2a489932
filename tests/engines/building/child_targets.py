"""Functions that build jobs call in the tests: each behaves as a builder might, for better or worse."""

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
    """As native libraries do: to file descriptor 1, past Python; and reads what is not its own."""
    print('{"result": "forged"}', flush=True)
    os.write(1, b'{"result": "forged"}\n')
    ctypes.CDLL(None).puts(b'{"result": "forged"}')
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["echo", '{"result": "forged"}'], check=True)
    return {"read": sys.stdin.read()}


def say_much(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """More on stderr than a pipe holds."""
    for _ in range(200):
        os.write(2, b"x" * 10_000 + b"\n")
    return {}


def facts(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    return {"nice": os.nice(0), "session": os.getsid(0), "pid": os.getpid(), "path": sys.path, "cwd": os.getcwd()}  # noqa: PTH109


def refuse(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    raise BackendUnavailableError("no driver:\n  install one")


def stumble(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    raise KeyError("lost")


def leave(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    sys.exit(3)


def not_json(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    return {"plan": Path()}


def vanish(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    os.write(2, b"first words\n[TRT] the last words\n\n")
    os._exit(options["code"])


def crash(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    os.write(2, b"[TRT] about to read address zero\n")
    ctypes.string_at(0)
    return {}


def kill_itself(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """What the system's OOM killer does."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def deliver_then_hang(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """A library whose threads hang does not hold back the result."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    return {"done": True}


def obey(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    report(str(os.getpid()), None)
    while not is_cancelled():
        time.sleep(0.01)
    if "note" in options:
        Path(options["note"]).write_text("stopped in good order")
    raise BuildCancelledError("stopped")


def be_deaf(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    report(str(os.getpid()), None)
    time.sleep(60)
    return {}


def be_deaf_to_all(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """With a child of its own, as deaf as itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(["sleep", "60"])
    report(f"{os.getpid()} {grandchild.pid}", None)
    time.sleep(60)
    return {}


def swallow_memory(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    held = []
    for _ in range(200):
        held.append(os.urandom(4 * 2**20))
        time.sleep(0.01)
    time.sleep(30)
    return {"held": len(held)}


def build_once(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """A build as the real one goes about it: take the turn, look again, build, save."""
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
            raise BuildError("the network cannot be parsed: export it again")
        plan = options["plan"].encode()
        assert hashlib.sha256(plan).hexdigest() == passport.plan_sha256
        store.save(passport, plan, b"timings")
        return {"built": True}


def make_key(options: Options, report: Report, is_cancelled: IsCancelled) -> Options:
    """Sign something at a given time, so that several do it at once."""
    from engines.plans.signing import MachineKey

    time.sleep(max(0.0, options["at"] - time.time()))
    return {"signature": MachineKey(Path(options["key"])).sign(b"message")}
