"""The child's side of a check: takes names on stdin, gives JSON lines on stdout.

{"step": "importing cv2"} says what is tried next; {"findings": [[verdict, subject, found, cure]], "trace": ""} ends a check.
What libraries print goes to stderr: it would be taken for an answer.
"""

import contextlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import IO, Any

from engines.errors import SegmentationError
from realtime.doctor import load
from realtime.doctor.common.finding import Finding, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import package_of
from realtime.process.failures import known


def main(registries: Mapping[str, Sequence[str]]) -> None:
    """Answer until stdin ends, which means that the parent is gone. registries: package -> its folders."""
    for name, folders in registries.items():
        with contextlib.suppress(ImportError):  # the check that needs it says so
            importlib.import_module(name).__path__ = list(folders)
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    machine = Machine(step=lambda step: _send(answers, {"step": step}))
    for line in questions:
        name = json.loads(line)
        findings, trace = outcome(name, machine)
        _send(answers, {"findings": findings, "trace": trace})
    os._exit(0)  # native libraries may crash while they unload


def outcome(name: str, machine: Machine) -> tuple[list[Finding], str]:
    """What a check finds, and the trace of what it raised, if anything."""
    found: list[Finding] = []
    try:
        found.extend(load(name).check(machine))
    except Exception as error:
        return [*found, _raised(name, machine, error)], traceback.format_exc()
    if not found:
        found.append(warning(name, "the check says nothing", f"{machine.run} doctor {name} --verbose"))
    return found, ""


def _raised(name: str, machine: Machine, error: Exception) -> Finding:
    if isinstance(error, SegmentationError):
        return problem(name, error.what, error.cure)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(("engines", "realtime")):
        package = package_of(error.name.partition(".")[0])
        return warning(name, f"not looked at: the package {package} is missing", machine.pip("install", package))
    if (explained := known(error)) is not None:  # no memory left, a file that may not be read
        return problem(name, f"not looked at: {explained[0]}", explained[1])
    text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return warning(
        name, f"the check itself failed ({text})", f"{machine.run} doctor {name} --verbose  # shows the trace: report it"
    )


def _send(answers: IO[bytes], message: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(message).encode() + b"\n")
    except OSError:
        os._exit(1)  # the parent is gone


if __name__ == "__main__":
    sys.exit("started by realtime.doctor.common.runner")
