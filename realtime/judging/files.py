"""Reads tracks in MOTChallenge's text format, one line per object and frame, and checks them.

    frame, id, x, y, width, height, valid or score, class, visibility

Frames count from 1. Files of ten columns (the last three are a position in the world, or -1) and of fewer than eight have no
classes. Source: MOT16 (Milan et al., 2016), section 4; MOTChallenge 2015 (Leal-Taixé et al.), section 3.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.errors import DataError
from engines.types import F64, I64, Bools

LEAST_COLUMNS = 6
COLUMNS_WITH_CLASS = (8, 9)
LAST_FRAME = 5_000_000
"""Two days at 30 frames per second; every frame up to the last is scored, with rows or without."""
EXPECTED = "The format is frame,id,x,y,width,height,... as written by run.py process --mot"


@dataclass(frozen=True, slots=True)
class TrackRows:
    """The rows of one file, N of them, in its order.

    frames:   (N,) int64, from 1. ids: (N,) int64, 0 or more; each at most once per frame.
    boxes_px: (N, 4) float64 x, y, width, height in pixels, the sizes above 0.
    values:   (N,) float64: in ground truth 0 = not scored; in a result the score; 1 where the file has no such column.
    classes:  (N,) int64, or None where the file has no such column.
    """

    path: Path
    frames: I64
    ids: I64
    boxes_px: F64
    values: F64
    classes: I64 | None

    def take(self, kept: Bools) -> TrackRows:
        """Only those rows."""
        classes = None if self.classes is None else self.classes[kept]
        return TrackRows(self.path, self.frames[kept], self.ids[kept], self.boxes_px[kept], self.values[kept], classes)


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one clip. frame_count: None where the length of the clip is unknown."""

    name: str
    rows: TrackRows
    frame_count: int | None


def read_truth(path: Path) -> Truth:
    """A gt.txt, or a MOTChallenge folder with gt/gt.txt (or gt.txt) and optionally seqinfo.ini. Raises DataError."""
    if path.is_dir():
        file = next((file for file in (path / "gt" / "gt.txt", path / "gt.txt") if file.is_file()), None)
        if file is None:
            raise DataError(f"{path}: has neither gt/gt.txt nor gt.txt", "Name the file with the ground truth")
        return Truth(path.resolve().name, read_tracks(file), _length(path / "seqinfo.ini"))
    rows = read_tracks(path)
    folder = path.resolve().parent
    folder = folder.parent if folder.name == "gt" else folder
    return Truth(folder.name if path.stem == "gt" else path.stem, rows, _length(folder / "seqinfo.ini"))


def read_tracks(path: Path) -> TrackRows:
    """Read one file. Raises DataError that names the line: missing, of another format, or impossible values."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", "Write tracks with run.py process SOURCE --mot FILE.txt") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file", EXPECTED) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    numbered = [
        (number, line.replace(",", " ").replace(";", " ").split())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    if not numbered:
        raise DataError(f"{path}: has no tracks", "Check its clip, or lower --threshold when making it")
    table = _table(path, numbered)
    rows = _rows(path, table)
    _check(rows, table, [number for number, _ in numbered])
    return rows


def _table(path: Path, numbered: list[tuple[int, list[str]]]) -> F64:
    """The words as numbers, (N, C) float64."""
    columns = len(numbered[0][1])
    for number, words in numbered:
        if len(words) < LEAST_COLUMNS:
            raise DataError(f"{path}, line {number}: has {len(words)} columns, fewer than {LEAST_COLUMNS}", EXPECTED)
        if len(words) != columns:
            what = f"{path}, line {number}: has {len(words)} columns, the lines before it {columns}"
            raise DataError(what, "The file may be incomplete: write it again")
    try:
        return np.array([words for _, words in numbered], np.float64)
    except ValueError:
        number, word = next((number, word) for number, words in numbered for word in words if not _is_number(word))
        raise DataError(f'{path}, line {number}: "{word[:20]}" is not a number', EXPECTED) from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _rows(path: Path, table: F64) -> TrackRows:
    columns = table.shape[1]
    has_classes = columns in COLUMNS_WITH_CLASS and bool((table[:, 7] >= 0).all())
    with np.errstate(invalid="ignore"):  # NaN and infinity, which `_check` reports
        frames, ids = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        classes = table[:, 7].astype(np.int64) if has_classes else None
    values = table[:, 6] if columns > 6 else np.ones(len(table))
    return TrackRows(path, frames, ids, table[:, 2:6], values, classes)


def _check(rows: TrackRows, table: F64, numbers: list[int]) -> None:
    """Raises DataError for the first line with impossible values."""
    path, sizes = rows.path, rows.boxes_px[:, 2:]
    finite = np.isfinite(table[:, :LEAST_COLUMNS]).all(axis=1)
    whole = (table[:, 0] == rows.frames) & (table[:, 1] == rows.ids)
    for is_wrong, what, cure in (
        (~finite, "has NaN or infinity", "Leave such boxes out"),
        (~whole, "frame and id are not whole numbers", EXPECTED),
        (rows.frames == 0, "frame 0, but MOTChallenge counts from 1", "Add 1 to every frame of this file"),
        (rows.frames > LAST_FRAME, f"a frame above {LAST_FRAME}", "MOTChallenge counts frames from 1: is this the time?"),
        (rows.frames < 0, "a negative frame", "MOTChallenge counts from 1"),
        (rows.ids < 0, "id -1: these are detections (det.txt), not tracks", "Name gt.txt, or the output of a tracker"),
        ((sizes <= 0).any(axis=1), "width or height is not above 0", "Columns 5 and 6 must be sizes, not the lower right corner"),
    ):
        if is_wrong.any():
            raise DataError(f"{path}, line {numbers[int(np.argmax(is_wrong))]}: {what}", cure)
    order = np.lexsort((rows.ids, rows.frames))
    frames, ids = rows.frames[order], rows.ids[order]
    twice = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
    if len(twice):
        row = int(order[twice[0] + 1])
        what = f"{path}, line {numbers[row]}: id {rows.ids[row]} occurs twice in frame {rows.frames[row]}"
        raise DataError(what, "An id is one object: the file may have several clips or runs")


def _length(path: Path) -> int | None:
    """The clip's number of frames in MOTChallenge's seqinfo.ini; None where there is no such file."""
    if not path.is_file():
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read(path, encoding="utf-8-sig")
        length = parser.getint("Sequence", "seqLength")
    except (configparser.Error, ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({reason})", "Write seqLength = N under [Sequence], or remove it") from None
    if not 1 <= length <= LAST_FRAME:
        raise DataError(f"{path}: seqLength = {length} is not a number of frames, 1 to {LAST_FRAME}")
    return length
