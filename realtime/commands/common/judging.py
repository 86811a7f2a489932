"""The work of `evaluate --tracks`: scores pairs of files, prints a table, writes JSON."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import DataError, EvaluationError
from engines.models import zoo
from engines.types import I64
from realtime.commands.common.evaluating import check_json, write_json
from realtime.commands.common.tables import plain, show, table
from realtime.errors import SettingsError
from realtime.judging.classes import class_pairs
from realtime.judging.files import TrackRows, Truth, read_tracks, read_truth
from realtime.judging.scores import ClassPair, Figures, combined, count, figures
from realtime.process.version import version

if TYPE_CHECKING:
    from realtime.commands.evaluate import Tracks

SHARES = ("hota", "det_a", "ass_a", "loc_a", "idf1", "idp", "idr", "mota")
NUMBERS = ("switches", "fragments", "misses", "false_alarms")
HEAD = ("clip", "HOTA", "DetA", "AssA", "LocA", "IDF1", "IDP", "IDR", "MOTA", *NUMBERS[:3], "false positives")
TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class _Clip:
    """One pair of files. notes: for the reader of the scores."""

    truth: Truth
    result: TrackRows
    frames: I64
    classes: tuple[ClassPair, ...]
    notes: tuple[str, ...]


def judge(model: str | None, tracks: Tracks, json_path: str | None) -> int:
    """Score each file of results against its file of true tracks; `model` names the classes. Prints, and may write JSON."""
    if len(tracks.tracks) != len(tracks.mot):
        raise SettingsError(
            f"{len(tracks.tracks)} --tracks and {len(tracks.mot)} --mot", "Give them in pairs: GT, then the result for it"
        )
    check_json(json_path)
    names = zoo.find(model).card.classes if model else None
    clips = [
        _open(Path(true).expanduser(), Path(found).expanduser(), names, tracks.classes, skip_gaps=tracks.skip_gaps)
        for true, found in zip(tracks.tracks, tracks.mot, strict=True)
    ]
    counts = [count(clip.truth.rows, clip.result, clip.frames, clip.classes) for clip in clips]
    scored = [(clip, figures(counted)) for clip, counted in zip(clips, counts, strict=True)]
    together = figures(combined(counts))
    print("\n".join(_described(scored, together)))
    if json_path:
        write_json(Path(json_path), _facts(scored, together, skips_gaps=tracks.skip_gaps))
    return 0


def _open(true_path: Path, found_path: Path, names: Sequence[str] | None, classes: str | None, *, skip_gaps: bool) -> _Clip:
    truth, result = read_truth(true_path), read_tracks(found_path)
    last = _last_frame(truth)
    frames, notes = _frames(truth, result, last, skips_gaps=skip_gaps)
    pairs = class_pairs(classes, names, truth.rows, result)
    if result.classes is not None:
        others = int((~np.isin(result.classes, [pair.result for pair in pairs])).sum())
        notes += [f"{others} of the result's {len(result.frames)} rows are of other classes and do not count"] * (others > 0)
    return _Clip(truth, result, frames, pairs, tuple(notes))


def _last_frame(truth: Truth) -> int:
    """The clip's length where it is known, or else the last frame with a true object."""
    last = int(truth.rows.frames.max())
    if truth.frame_count is not None and last > truth.frame_count:
        raise DataError(f"{truth.rows.path}: has frame {last}, but seqinfo.ini says the clip has {truth.frame_count}")
    return truth.frame_count or last


def _frames(truth: Truth, result: TrackRows, last: int, *, skips_gaps: bool) -> tuple[I64, list[str]]:
    """The frames to score, and notes on them."""
    beyond = int((result.frames > last).sum())
    if beyond and truth.frame_count is not None:
        what = f"{result.path}: has frame {result.frames.max()}, but the clip {truth.name} has {last} (seqinfo.ini)"
        raise EvaluationError(what, "Check that the result is of this clip")
    if not np.isin(result.frames, truth.rows.frames).any():
        spans = [f"{rows.path} has {rows.frames.min()} to {rows.frames.max()}" for rows in (truth.rows, result)]
        raise EvaluationError(f"no frame in common: {' and '.join(spans)}", "Both must be of one clip, from its first frame on")
    notes = [f"{beyond} rows after frame {last}, the last one with a true object, do not count"] if beyond else []
    present = np.unique(result.frames[result.frames <= last])
    if skips_gaps:
        return present, [*notes, f"scored on the {len(present)} of {last} frames that the result has rows for"]
    if len(present) < last:
        notes.append(f"rows for {len(present)} of {last} frames; the others count as missed (not with --skip-gaps)")
    return np.arange(1, last + 1), notes


def _described(scored: Sequence[tuple[_Clip, Figures]], together: Figures) -> list[str]:
    rows = [_row(clip.truth.name, one) for clip, one in scored]
    rows += [_row(TOGETHER, together)] if len(scored) > 1 else []
    lines = [f"scored by   TrackEval {importlib.metadata.version('trackeval')}"]
    for clip, one in scored:
        lines.append(
            f"{clip.truth.name}: {one.frames} frames, {one.true_boxes} true boxes of {one.true_ids} objects, "
            f"{one.found_boxes} found of {one.found_ids} tracks, class {_classes(clip)}"
        )
        lines += [f"note        {note}" for note in clip.notes]
    return [*lines, "", *table(HEAD, rows, "l" + "r" * (len(HEAD) - 1))]


def _classes(clip: _Clip) -> str:
    return ", ".join(f"{one.truth}" if one.truth == one.result else f"{one.truth} = {one.result}" for one in clip.classes)


def _row(name: str, of: Figures) -> tuple[str, ...]:
    return (name, *(show(getattr(of, key)) for key in SHARES), *(str(getattr(of, key)) for key in NUMBERS))


def _facts(scored: Sequence[tuple[_Clip, Figures]], together: Figures, *, skips_gaps: bool) -> dict[str, Any]:
    """The JSON file. Shares are 0..1; null where undefined."""
    each = [
        {
            "name": clip.truth.name,
            "tracks": str(clip.truth.rows.path),
            "mot": str(clip.result.path),
            "classes": [{"truth": pair.truth, "result": pair.result} for pair in clip.classes],
            "notes": list(clip.notes),
            "figures": asdict(one),
        }
        for clip, one in scored
    ]
    versions = {name: importlib.metadata.version(name) for name in ("trackeval", "numpy")}
    facts: dict[str, Any] = plain(
        {
            "versions": {"realtime-segmentation": version(), "python": platform.python_version(), **versions},
            "skips_gaps": skips_gaps,
            "clips": each,
            TOGETHER: asdict(together),
        }
    )
    return facts
