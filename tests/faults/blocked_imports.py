"""Runs commands where packages are missing, each in a fork: python blocked_imports.py, its cases as JSON on stdin.

A case: {"missing": [package ...], "words": [word of the command line ...]}. Prints a line of JSON for each: its exit code
(negative: a signal) and what it wrote to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import ModuleSpec
from tempfile import TemporaryFile
from typing import Any


class Blocker:
    """Finds the missing packages first, and refuses them."""

    def __init__(self, missing: list[str]) -> None:
        self._missing = missing

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self._missing:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return None


def run(case: dict[str, Any]) -> dict[str, Any]:
    with TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.meta_path.insert(0, Blocker(case["missing"]))  # type: ignore[arg-type]
            sys.argv[1:] = case["words"]
            from realtime.cli import program

            program()
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return {"code": os.waitstatus_to_exitcode(status), "stderr": said.read().decode()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
