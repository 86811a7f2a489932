"""A throw-away environment in the cache folder, in which a maker's exporter makes an ONNX file. Nothing of it stays.

An environment takes gigabytes, so its end is seen to three times: by the block that made it, by a process of its own where the
program was killed (`supervisor`), and by the next environment where both were.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from engines.errors import DownloadError, cure_of
from engines.models.collection.exporters import Export, Maker
from engines.system.memory import CLOSE_PROGRAMS, WORDS
from engines.system.places import user_folder
from engines.system.unfinished import temporary_folder

SUPERVISOR = Path(__file__).with_name("supervisor.py")

PREFIX = "environment-"
TICK_S = 0.5

LEAST_FREE = 1.2
"""Free space that is asked for, as a multiple of what is needed."""

CUDA_DOWNLOAD_MB, CUDA_DISK_MB = 2540, 3990
"""What PyTorch 2.13 with CUDA takes more than without: the sizes of its wheels and of what is in them."""

OWN_INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
"""Who sets one of these may have PyTorch without CUDA from there."""

AGAIN = "Check the connection, and run the same command again"

OFFLINE = re.compile(
    "name resolution|name or service not known|max retries|connection|timed out|timeout|download failure|unreachable|http error",
    re.IGNORECASE,
)
"""In the last line of an exporter that could not download its weights."""

ERROR = re.compile(r"ERROR: |[A-Za-z_][\w.]*(Error|Exception|Timeout|Interrupt|SystemExit)\b")
"""Begins the line of a log that says what went wrong: pip's, or the last one of a traceback."""

ENDED = 128 + signal.SIGKILL
"""The exit code of a step that something ended together with its supervisor."""

QUOTED_LETTERS = 200
"""Of that line, or else the last one, in an error."""

Progress = Callable[[str, float], None]
"""Called at first and every TICK_S with the title of the step, and the seconds since it began."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command. title: what it is to do. variables: its own environment variables. cure: what to do where it fails."""

    title: str
    command: tuple[str, ...]
    cure: str
    variables: dict[str, str]


def environments_folder() -> Path:
    """Where environments are made, and logs kept. Raises NoHomeError."""
    return user_folder("cache") / "exporters"


def steps_of(maker: Maker, argument: str, onnx_path: Path, folder: Path) -> list[Step]:
    """The commands that make the ONNX file, in turn, to be run in `folder`. The last one is the export."""
    python = str(folder / "python" / "bin" / "python")
    is_pip_here = _is_pip_here()  # which is quicker than an environment with its own, and needs no python3-venv
    pip = (sys.executable, "-m", "pip", "--python", python) if is_pip_here else (python, "-m", "pip")
    pip = (*pip, "install", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off")
    steps = [
        Step(
            "make an environment",
            (sys.executable, "-m", "venv", *(("--without-pip",) if is_pip_here else ()), str(folder / "python")),
            "On Debian and Ubuntu: sudo apt install python3-venv",
            {},
        )
    ]
    steps += [Step(f"install {packages[0]}", (*pip, *packages), AGAIN, {}) for packages in maker.steps]
    homes = {key: str(folder / "home") for key in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore"}
    command = (python, "-I", "-u", "-c", maker.script, str(onnx_path), argument)
    steps.append(Step(f"export it with {maker.package}", command, AGAIN, homes | quiet | maker.environment))
    return steps


def brings_cuda(maker: Maker) -> bool:
    """Whether pip will install PyTorch's usual build for Linux on x86-64, which has CUDA."""
    has_torch = any(package.startswith("torch==") for packages in maker.steps for package in packages)
    return has_torch and sys.platform == "linux" and platform.machine() == "x86_64" and not any(map(os.environ.get, OWN_INDEX))


def takes_mb(maker: Maker) -> tuple[int, int]:
    """What the packages take to download here, and on disk while the environment exists."""
    if brings_cuda(maker):
        return maker.download_mb + CUDA_DOWNLOAD_MB, maker.disk_mb + CUDA_DISK_MB
    return maker.download_mb, maker.disk_mb


def _is_pip_here() -> bool:
    """Whether this Python has a pip that can install for another one, which it does since 22.3."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        return tuple(map(int, importlib.metadata.version("pip").split(".")[:2])) >= (22, 3)
    return False


def make(name: str, export: Export, maker: Maker, onnx_path: Path, on_progress: Progress = lambda *_: None) -> None:
    """Make the ONNX file of a model with its maker's exporter, in an environment that is removed in any case.

    Raises DownloadError: with too little space, while another process makes a model, and when a step fails; its log stays then,
    and is named.
    """
    root = environments_folder()
    log_path = root / f"{name}.log"
    try:
        root.mkdir(parents=True, exist_ok=True)
        onnx_path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(root), temporary_folder(root, PREFIX) as folder:
            _check_space(name, maker, root)
            (folder / "home").mkdir()
            log_path.unlink(missing_ok=True)
            with _Supervisor(folder) as supervisor:
                for step in steps_of(maker, export.argument, onnx_path, folder):
                    code = supervisor.run(step, log_path, on_progress)
                    if code:
                        raise _failed(name, step, code, log_path, supervisor.log_start_bytes)
            if not onnx_path.is_file():
                raise DownloadError(f"{name}: {maker.package} wrote no file", f"All that was said is in {log_path}")
        log_path.unlink()
    except filelock.Timeout as error:
        raise DownloadError("another process is making a model with an exporter", "Wait until it has finished") from error
    except OSError as error:
        what = f"{root}: the model cannot be made there ({error.strerror or error})"
        raise DownloadError(what, cure_of(error, "choose another folder with XDG_CACHE_HOME")) from error


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """While entered, no other process makes a model. What killed ones left is removed first."""
    with filelock.FileLock(str(root / ".lock"), timeout=0):
        for leftover in root.glob(f"{PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _check_space(name: str, maker: Maker, root: Path) -> None:
    free_mb, needed_mb = shutil.disk_usage(root).free / 1e6, LEAST_FREE * takes_mb(maker)[1]
    if free_mb < needed_mb:
        needed_gb, free_gb = needed_mb / 1e3, free_mb / 1e3
        what = f"{name}: its exporter needs {needed_gb:.1f} GB in {root} for a while, {free_gb:.1f} GB are free"
        raise DownloadError(what, "Free some space, or choose another folder with XDG_CACHE_HOME")


class _Supervisor:
    """Runs steps, one after another, in a process that outlives this one if it has to. Used in a `with`, which ends it."""

    def __init__(self, folder: Path) -> None:
        command = (sys.executable, "-I", str(SUPERVISOR), str(folder))
        pipe = subprocess.PIPE
        # A session of its own: it is not to end with Ctrl-C, nor with the terminal.
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, cwd=folder.parent, start_new_session=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout, self._folder = self._process.stdin, self._process.stdout, folder
        self.log_start_bytes = 0  # where the output of the step that ran last begins in the log

    def __enter__(self) -> "_Supervisor":
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._process:  # closes its stdin, which ends the step and removes the folder
            pass

    def run(self, step: Step, log_path: Path, on_progress: Progress) -> int:
        """The exit code of the step, whose output is added to the log."""
        with log_path.open("ab") as log:
            log.write(f"\n$ {' '.join(step.command)}\n".encode())
            self.log_start_bytes = log.tell()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        own = {"PYTHONNOUSERSITE": "1", "PIP_USER": "0", "TMPDIR": str(self._folder)}  # pip may be set up to install for the user
        variables = inherited | own | step.variables
        line = json.dumps({"command": step.command, "log": str(log_path), "variables": variables})
        with contextlib.suppress(BrokenPipeError):  # it was killed
            self._stdin.write(line.encode() + b"\n")
        started_s = time.monotonic()
        on_progress(step.title, 0.0)
        while not select.select([self._stdout], [], [], TICK_S)[0]:
            on_progress(step.title, time.monotonic() - started_s)
        return int(self._stdout.readline() or ENDED)


def _failed(name: str, step: Step, code: int, log_path: Path, start_bytes: int) -> DownloadError:
    """One line for the end of a log, in which the step's output begins at `start_bytes`."""
    output = log_path.read_bytes()[start_bytes:].decode(errors="replace")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if ERROR.match(line)]
    said = (errors or lines or [""])[-1]
    log = f"All that was said is in {log_path}"
    if code == ENDED or any(words in said.lower() for words in WORDS):
        return DownloadError(f"{name}: there was not enough memory to {step.title}", f"{CLOSE_PROGRAMS}. {log}")
    quoted = " ".join(said.split())[:QUOTED_LETTERS] or f"exit code {code}"
    is_export = "-c" in step.command
    if is_export and OFFLINE.search(said):
        return DownloadError(f"{name}: its weights could not be downloaded ({quoted})", f"{AGAIN}. {log}")
    return DownloadError(f"{name}: could not {step.title} ({quoted})", log if is_export else f"{step.cure}. {log}")
