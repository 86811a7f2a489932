"""Tracks in MOTChallenge's text, as `evaluate --tracks` reads them: a line per object and frame, checked.

    frame, id, x, y, width, height, valid or score, class, visibility

Frames count from 1. Ten columns are the older form without classes (the last three are a place in the world, or -1); so is
anything shorter than eight. Source: MOT16 (Milan et al., 2016), section 4; MOTChallenge 2015 (Leal-Taixé et al.), section 3.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.errors import DataError
from engines.types import F64, I64

LEAST_COLUMNS = 6
COLUMNS_WITH_CLASS = (8, 9)
FORMAT = "frame,id,x,y,width,height,... as run.py process --mot writes it"


@dataclass(frozen=True, slots=True)
class TrackLines:
    """The lines of one file, N of them, in its order.

    frames:  (N,) int64, from 1. ids: (N,) int64, 0 or more; at most once in a frame.
    boxes_px: (N, 4) float64 x, y, width, height in pixels, the sizes above 0.
    values:  (N,) float64: in ground truth 0 = not to be scored; in a result the score; 1 where the file has no such column.
    classes: (N,) int64, or None where the file has no such column.
    """

    path: Path
    frames: I64
    ids: I64
    boxes_px: F64
    values: F64
    classes: I64 | None

    def take(self, rows: npt.NDArray[np.bool_]) -> TrackLines:
        """Only those lines."""
        classes = None if self.classes is None else self.classes[rows]
        return TrackLines(self.path, self.frames[rows], self.ids[rows], self.boxes_px[rows], self.values[rows], classes)


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one clip. frame_count: None where nothing says how long the clip is."""

    name: str
    lines: TrackLines
    frame_count: int | None


def read_truth(path: Path) -> Truth:
    """A gt.txt, or a folder of MOTChallenge's that holds gt/gt.txt (or gt.txt) and maybe seqinfo.ini. Raises DataError."""
    if path.is_dir():
        file = next((file for file in (path / "gt" / "gt.txt", path / "gt.txt") if file.is_file()), None)
        if file is None:
            raise DataError(f"{path}: holds neither gt/gt.txt nor gt.txt; name the file with the true tracks")
        return Truth(path.resolve().name, read_tracks(file), _length(path / "seqinfo.ini"))
    lines = read_tracks(path)
    folder = path.resolve().parent
    folder = folder.parent if folder.name == "gt" else folder
    return Truth(folder.name if path.stem == "gt" else path.stem, lines, _length(folder / "seqinfo.ini"))


def read_tracks(path: Path) -> TrackLines:
    """Read one file. Raises DataError: missing, of another format, or a line that cannot be true; the text names it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; tracks are written by run.py process SOURCE --mot FILE.txt") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text; MOTChallenge's files are lines of {FORMAT}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    numbered = [
        (number, line.replace(",", " ").replace(";", " ").split())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    if not numbered:
        raise DataError(f"{path}: is empty, there is no track in it; look at its clip, or lower --threshold when making it")
    table = _table(path, numbered)
    lines = _lines(path, table)
    _check(lines, table, [number for number, _ in numbered])
    return lines


def _table(path: Path, numbered: list[tuple[int, list[str]]]) -> F64:
    """(N, C) float64 of the words."""
    columns = len(numbered[0][1])
    for number, words in numbered:
        if len(words) < LEAST_COLUMNS:
            raise DataError(
                f"{path}, line {number}: has {len(words)} columns, MOTChallenge's have {LEAST_COLUMNS} at least: {FORMAT}"
            )
        if len(words) != columns:
            raise DataError(f"{path}, line {number}: has {len(words)} columns, those before it {columns}; was the file cut off?")
    try:
        return np.array([words for _, words in numbered], np.float64)
    except ValueError:
        number, word = next((number, word) for number, words in numbered for word in words if not _is_number(word))
        raise DataError(f'{path}, line {number}: "{word[:20]}" is not a number; MOTChallenge\'s lines are {FORMAT}') from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _lines(path: Path, table: F64) -> TrackLines:
    columns = table.shape[1]
    has_classes = columns in COLUMNS_WITH_CLASS and bool((table[:, 7] >= 0).all())
    with np.errstate(invalid="ignore"):  # NaN and the like; `_check` tells of them
        frames, ids = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        classes = table[:, 7].astype(np.int64) if has_classes else None
    values = table[:, 6] if columns > 6 else np.ones(len(table))
    return TrackLines(path, frames, ids, table[:, 2:6], values, classes)


def _check(lines: TrackLines, table: F64, numbers: list[int]) -> None:
    """What cannot be true, at the first line where it is not."""
    path, sizes = lines.path, lines.boxes_px[:, 2:]
    finite = np.isfinite(table[:, :LEAST_COLUMNS]).all(axis=1)
    whole = (table[:, 0] == lines.frames) & (table[:, 1] == lines.ids)
    for is_wrong, what in (
        (~finite, "holds NaN or infinity; leave such a box out"),
        (~whole, "frame and id must be whole numbers; is it another format?"),
        (lines.frames == 0, "frame 0, but MOTChallenge counts from 1; add 1 to every frame of this file"),
        (lines.frames < 0, "a frame before the first; MOTChallenge counts from 1"),
        (lines.ids < 0, "id -1: these are detections (det.txt), not tracks; name gt.txt, or what a tracker wrote"),
        ((sizes <= 0).any(axis=1), "width and height must be above 0; are columns 5 and 6 the lower right corner, or sizes?"),
    ):
        if is_wrong.any():
            raise DataError(f"{path}, line {numbers[int(np.argmax(is_wrong))]}: {what}")
    order = np.lexsort((lines.ids, lines.frames))
    frames, ids = lines.frames[order], lines.ids[order]
    twice = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
    if len(twice):
        row = int(order[twice[0] + 1])
        raise DataError(
            f"{path}, line {numbers[row]}: id {lines.ids[row]} stands twice in frame {lines.frames[row]}; an id is one object: "
            "are several clips or runs in one file?"
        )


def _length(path: Path) -> int | None:
    """How many frames MOTChallenge's seqinfo.ini says the clip has."""
    if not path.is_file():
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read(path, encoding="utf-8-sig")
        length = parser.getint("Sequence", "seqLength")
    except (configparser.Error, ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: cannot be read ({reason}); it should hold [Sequence] and seqLength = N, or be removed"
        ) from None
    if length < 1:
        raise DataError(f"{path}: seqLength = {length} must be 1 or more")
    return length
