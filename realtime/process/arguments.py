"""Secrets in this process's own arguments, which every user of the machine can read (`ps`): overwritten where Linux keeps them.

As curl and MySQL's client do. They can be read until then, for some tenths of a second; `${NAME}` in an address avoids that.
"""

import contextlib
import os

ARG_START, ARG_END = 48, 49
"""Fields of /proc/PID/stat, counted from 1. Source: proc_pid_stat(5)."""


def hide_secrets() -> None:
    """Overwrite each argument that holds a secret with what may be shown of it. Does nothing where that is not possible."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123  pathlib would be one more import at the start
            fields = file.read().rpartition(b")")[2].split()  # from the third on
        start, end = int(fields[ARG_START - 3]), int(fields[ARG_END - 3])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
            memory.seek(start)
            arguments = memory.read(end - start)
            if b"://" not in arguments and b" ! " not in arguments and b"@" not in arguments:
                return
            from realtime.process.redact import redact_source

            at = start
            for argument in arguments.split(b"\0"):
                shown = os.fsencode(redact_source(os.fsdecode(argument)))
                if shown != argument and b"***" in shown:
                    memory.seek(at)
                    memory.write(shown[: len(argument)].ljust(len(argument)))
                at += len(argument) + 1
