"""Probing: one run of an untried network in a child process, with limits of time and memory, to learn the shapes of its outputs.

A graph may loop for ever, fill the memory or crash the runtime; whatever it does, it does it to the child, and Ctrl-C ends both.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.errors import ModelFileError
from engines.system.unfinished import unfinished

LIMIT_S = 20.0
MEMORY_BYTES = 6 * 1024**3
"""Of address space, beside the file itself."""

STEP_S = 0.05

# The child uses the import path of this process. With `-m` it would search the working folder first.
BOOTSTRAP = "import sys; sys.path[:] = sys.argv[3:]; from engines.onnx_graph.probing import child; child(*sys.argv[1:3])"

Shapes = list[tuple[str, tuple[int, ...]]]


def probe(path: Path, inputs: Mapping[str, tuple[str, Sequence[int]]]) -> Shapes | None:
    """Type and shape of each output, after one run on zeros; None where it does not run: the backend that runs it says why.

    inputs: tensor → type and shape. Raises ModelFileError where the run takes too long or ends the process.
    """
    where = [str(Path(entry).absolute()) for entry in sys.path if entry]
    command = [
        sys.executable,
        "-c",
        BOOTSTRAP,
        str(path),
        json.dumps({name: list(kind) for name, kind in inputs.items()}),
        *where,
    ]
    try:
        # A new session: Ctrl-C in the terminal interrupts this process, which then ends the child.
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError:  # no child, no answer
        return None
    try:
        with unfinished(process.kill):
            answer = _answer(process, path)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
    try:
        found = json.loads(answer)
        return [(str(kind), tuple(map(int, shape))) for kind, shape in found] if found is not None else None
    except (ValueError, TypeError):
        return None


def _answer(process: "subprocess.Popen[bytes]", path: Path) -> bytes:
    end_s = time.monotonic() + LIMIT_S
    while process.poll() is None:  # its answer is short: it fits the pipe
        time.sleep(STEP_S)
        if time.monotonic() > end_s:
            what = f"{path}: one run of its network takes more than {LIMIT_S:.0f} s"
            raise ModelFileError(what, "It may loop for ever: export it without loops")
    answer = process.stdout.read() if process.stdout is not None else b""
    if process.returncode < 0:
        raise ModelFileError(f"{path}: ONNX Runtime crashes on its network (signal {-process.returncode})", "Export it again")
    return answer


def child(path: str, inputs: str) -> None:
    """The child's side. Prints the outputs' types and shapes as JSON, or null. Ends with its parent, whatever it is doing."""
    import numpy as np

    from engines.loading import cpu_session

    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_memory(Path(path).stat().st_size)
    try:
        zeros = {name: np.zeros([int(length) for length in shape], kind) for name, (kind, shape) in json.loads(inputs).items()}
        found = [(array.dtype.name, array.shape) for array in cpu_session(path).run(None, zeros)]
    except BaseException:  # of any type: it does not run
        found = None
    print(json.dumps(found), flush=True)
    os._exit(0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # nothing comes: it ends when the parent does
    os._exit(1)


def _limit_memory(file_bytes: int) -> None:
    """Where the system can: what asks for more gets an error, instead of the machine's last memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = MEMORY_BYTES + 4 * file_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
