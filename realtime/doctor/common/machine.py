"""Machine: the doors through which checks look at the system. Tests give their own root folder, environment and programs."""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from realtime.process import jetson

PROGRAM = "realtime-segmentation"

PROGRAM_LIMIT_S = 5.0

MOST_BYTES = 1 << 20
"""Of a file of facts; a longer one is read so far."""


class Said(NamedTuple):
    """What a program printed, and how it ended."""

    code: int
    text: str
    errors: str


def _nothing(step: str) -> None: ...


@dataclass(frozen=True)
class Machine:
    """This machine. root: in front of every system path. step: told what is tried next, for the case that it crashes or hangs."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    executable: Path = Path(sys.executable)
    prefix: Path = Path(sys.prefix)
    paths: Sequence[str] = field(default_factory=lambda: tuple(sys.path))
    """Folders that packages are looked for in."""
    ioctl: Callable[[int, int, bytearray], int] = fcntl.ioctl
    step: Callable[[str], None] = _nothing

    def at(self, path: str) -> Path:
        """A system path, such as "/proc/cpuinfo", below the root."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """The text of a file of facts, without the space around it; "" where it cannot be read."""
        try:
            with self.at(path).open("rb") as file:
                return file.read(MOST_BYTES).decode("utf-8", "replace").strip("\0 \t\r\n")
        except OSError:
            return ""

    def which(self, program: str) -> str | None:
        """The path of an installed program."""
        return shutil.which(program, path=self.environ.get("PATH", os.defpath))

    def ask(self, program: str, *arguments: str, limit_s: float = PROGRAM_LIMIT_S) -> Said | None:
        """Run a program that only reports; None where it is not installed, cannot be started, or takes too long."""
        path = self.which(program)
        if path is None:
            return None
        self.step(f"running {program} {' '.join(arguments)}".strip())
        environ = {**self.environ, "LC_ALL": "C.UTF-8"}
        pipe = subprocess.PIPE
        try:
            done = subprocess.run(
                [path, *arguments], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environ, timeout=limit_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return Said(done.returncode, *(stream.decode(errors="replace").strip() for stream in (done.stdout, done.stderr)))

    @property
    def is_jetson(self) -> bool:
        """Whether this is a Jetson, or a container on one."""
        return jetson.is_jetson(self.root)

    @property
    def board(self) -> str:
        """The name of a board that has a device tree, as a Jetson; else ""."""
        return jetson.board(self.root)

    @property
    def is_container(self) -> bool:
        return any(self.at(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))

    @property
    def is_wsl(self) -> bool:
        return "microsoft" in self.read("/proc/sys/kernel/osrelease").lower()

    @property
    def python(self) -> str:
        """This Python, as it is typed here."""
        path = self.executable
        with contextlib.suppress(OSError, ValueError):  # the working folder was deleted, or is another
            path = path.relative_to(Path.cwd())
        return shlex.quote(str(path))

    def pip(self, verb: str, arguments: str) -> str:
        """The command that installs into this Python's environment, or uninstalls. Where pip may not: one that makes one."""
        if self.is_managed:
            return self.environment("'.[tensorrt]'" if re.search("tensorrt|pycuda", arguments) else ".")
        if find_spec("pip") is None and self.which("uv"):
            return f"uv pip {verb} --python {self.python} {arguments.removeprefix('-y ')}"
        return f"{self.python} -m pip {verb} {arguments}"

    def exchange(self, old: str, new: str) -> str:
        """The command that uninstalls packages and installs others."""
        again = self.pip("install", new)
        return again if self.is_managed else f"{self.pip('uninstall', f'-y {old}')} && {again}"

    def environment(self, program: str = ".") -> str:
        """The command that makes an environment and installs the program into it. program: with its extras."""
        options = " --system-site-packages" if self.is_jetson else ""
        return f"python3 -m venv{options} .venv && .venv/bin/pip install -e {program}"

    @property
    def is_managed(self) -> bool:
        """Whether this is a system's Python, outside any environment, where pip refuses to work. Source: PEP 668."""
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        is_marked = self.at(f"{self.prefix}/lib/python{version}/EXTERNALLY-MANAGED").exists()
        return is_marked and not (self.prefix / "pyvenv.cfg").is_file()

    @property
    def run(self) -> str:
        """The program itself, as it is typed here: run.py of a checkout, or what an installation brings."""
        checkout = Path(__file__).parents[3]
        if not (checkout / "run.py").is_file():
            return PROGRAM
        with contextlib.suppress(OSError):
            if checkout == Path.cwd():
                return f"{self.python} run.py"
        return f"{self.python} {shlex.quote(str(checkout / 'run.py'))}"
