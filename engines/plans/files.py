"""Engine files as bytes, read without trusting their size."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

SNIFF_BYTES = 64


def looks_like_onnx(data: bytes) -> bool:
    """Whether `data` begins as ONNX files do: field 1 of a ModelProto, its IR version, and then one of its other fields."""
    # Tags of producer_name, producer_version, domain, model_version, doc_string, graph, opset_import, metadata_props.
    return len(data) >= 3 and data[0] == 0x08 and 0 < data[1] < 64 and data[2] in b"\x12\x1a\x22\x28\x32\x3a\x42\x72"


def read_file(path: Path, most_bytes: int) -> tuple[bytes, int]:
    """The content of a regular file, and its size, which is asked of the open file before anything is read.

    Of a file larger than `most_bytes` come its first bytes only. Raises OSError.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # before opening: a FIFO would wait for a writer
        raise OSError(errno.EINVAL, "not a file")
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        return file.read(size_bytes if size_bytes <= most_bytes else SNIFF_BYTES), size_bytes
