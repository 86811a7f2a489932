"""Text files of data sets: lists of names, and labels."""

import re
from pathlib import Path

from engines.errors import DataError

MAX_TEXT_BYTES = 64 * 1024**2
"""Of lists and labels: names of a million images."""

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_NUMBERED = re.compile(r"(\d{1,6})\s*[:=,;\s]\s*(\S.*)", re.ASCII)


def read_lines(path: Path, what: str) -> tuple[str, ...]:
    """The lines of a text file, stripped, without empty ones. Raises DataError: it cannot be read as `what`."""
    lines = read_text(path, what).replace("\r", "\n").split("\n")  # nothing else ends a line: a name may hold U+2028
    return tuple(line.strip() for line in lines if line.strip())


def read_text(path: Path, what: str) -> str:
    """A text file of at most MAX_TEXT_BYTES in UTF-8, or in UTF-16 with its mark, as Windows writes them; without that mark.

    Raises DataError: it cannot be read as `what`.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: cannot be read as {what} ({'not a file' if path.exists() else 'no such file'})")
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise DataError(f"{path}: is larger than {MAX_TEXT_BYTES >> 20} MiB, so it is not {what}")
        data = path.read_bytes()
        return data.decode("utf-16" if data.startswith(UTF16_MARKS) else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as {what} ({error})", "Save it as UTF-8") from error


def read_names(path: Path) -> tuple[str, ...]:
    """Class names, one per line, in the order of their ids; or each behind its id, in any order.

    Raises DataError where the id of a name is not sure: behind an empty line, missing, or given twice.
    """
    lines = [line.strip() for line in read_text(path, "class names, one per line").strip().splitlines()]
    if not any(lines):
        raise DataError(f"{path}: has no class names", "Write one per line, in the order of the ids")
    if "" in lines:
        what = f"{path}:{lines.index('') + 1}: is empty, so that the names below it may belong to other ids"
        raise DataError(what, "Remove the line, or write the name that is missing")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    pairs = [(int(match[1]), match[2]) for match in numbered if match]
    if len(pairs) < len(lines) or (len(pairs) == 1 and pairs[0][0] != 0):
        return tuple(lines)
    names = dict(pairs)
    if len(names) < len(pairs) or sorted(names) != list(range(len(names))):
        raise DataError(f"{path}: its ids are not 0 to {len(pairs) - 1}, each once", "Give every name its id, from 0 on")
    return tuple(names[class_id] for class_id in range(len(names)))
