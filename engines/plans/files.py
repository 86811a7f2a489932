"""Engine files as bytes: read without trusting their size, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Mapping
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


def publish(contents: Mapping[Path, bytes], part_prefix: str) -> None:
    """Write each file whole as `part_prefix`*.part, then move all to their places in the order given. Raises OSError.

    All are on the disk before the first is moved. After an error none of them is there, nor a folder made for them.
    """
    written: list[Path] = []
    folders: list[Path] = []
    try:
        parts: dict[Path, Path] = {}
        for path, data in contents.items():
            folders += reversed([folder for folder in path.parents if not folder.exists()])
            path.parent.mkdir(parents=True, exist_ok=True)
            parts[path] = _write_part(path.parent, data, part_prefix)
            written.append(parts[path])
        for path, part in parts.items():
            part.replace(path)
            written.append(path)
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        for folder in reversed(folders):
            with contextlib.suppress(OSError):  # not made yet, or others have put something there
                folder.rmdir()
        raise
    for folder in {path.parent for path in contents}:
        sync_to_disk(folder)


def _write_part(folder: Path, data: bytes, prefix: str) -> Path:
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def sync_to_disk(path: Path) -> None:
    """Make a file, or the moves in a folder, last through a power cut, where that can be asked for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
