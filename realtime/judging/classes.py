"""Which classes of a result stand for which of the ground truth: by number, or by name.

MOTChallenge numbers its classes in one way, a result in its model's: class id plus one. Person is 1 in both where the model is
COCO's; for any other model its own names say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from engines.errors import EvaluationError, did_you_mean
from engines.models.coco import COCO_CLASSES
from realtime.errors import SettingsError
from realtime.judging.files import TrackLines
from realtime.judging.scores import DISTRACTORS, ClassPair

PEDESTRIAN = 1
TRUE_NAMES = {"pedestrian": PEDESTRIAN, "person": PEDESTRIAN, "car": 3, "bicycle": 4, "motorbike": 5, "motorcycle": 5}
"""Source: MOT16 (Milan et al., 2016), table 3; beside its words COCO's."""

SYNONYMS = {"pedestrian": "person", "person": "pedestrian", "motorbike": "motorcycle", "motorcycle": "motorbike"}


def class_pairs(
    text: str | None, model_classes: Sequence[str] | None, truth: TrackLines, result: TrackLines
) -> tuple[ClassPair, ...]:
    """What counts. text: "1", "person", "1,3", "pedestrian=12"; None for all that the ground truth scores.

    model_classes: the names that the result's numbers have; None for COCO's. Raises SettingsError or EvaluationError.
    """
    names = COCO_CLASSES if model_classes is None else model_classes
    if text is not None:
        pairs = tuple(_pair(item.strip(), names) for item in text.split(","))
    else:
        pairs = tuple(_by_default(code, model_classes) for code in _scored(truth))
    if len({pair.result for pair in pairs}) < len(pairs):
        raise SettingsError(f"--classes {text}: names a class of the result twice")
    _check_used(pairs, truth, result, model_classes or ())
    return pairs


def _pair(item: str, names: Sequence[str]) -> ClassPair:
    """One word of --classes."""
    true, separator, found = item.partition("=")
    true, found = true.strip(), (found if separator else true).strip()
    if not true or not found:
        raise SettingsError(f'--classes: "{item}" names no class; write person, or 1, or TRUE=FOUND as in pedestrian=12')
    if true.isdigit():
        number = int(true)
    elif true.lower() in TRUE_NAMES:
        number = TRUE_NAMES[true.lower()]
    else:
        raise SettingsError(
            f'--classes: MOTChallenge has no class "{true}"; it has {", ".join(TRUE_NAMES)}, or write NUMBER={found}'
            f"{did_you_mean(true, TRUE_NAMES)}"
        )
    return ClassPair(number, int(found) if found.isdigit() else _number(found, names))


def _number(name: str, names: Sequence[str]) -> int:
    """A model's class in a result, counted from 1."""
    lower = [known.lower() for known in names]
    for word in (name.lower(), SYNONYMS.get(name.lower(), "")):
        if word in lower:
            return lower.index(word) + 1
    raise SettingsError(
        f'--classes: the model has no class "{name}"{did_you_mean(name, names)}; name the MODEL that made the result, or a number'
    )


def _scored(truth: TrackLines) -> list[int]:
    """The classes of true lines that are to be scored: people where the file does not say."""
    if truth.classes is None:
        return [PEDESTRIAN]
    codes = np.setdiff1d(truth.classes[truth.values != 0], DISTRACTORS).tolist()
    return [int(code) for code in codes] or [PEDESTRIAN]


def _by_default(code: int, model_classes: Sequence[str] | None) -> ClassPair:
    """The same number, or the class of that name where the model is known."""
    name = next((name for name, number in TRUE_NAMES.items() if number == code), None)
    return ClassPair(code, code if model_classes is None or name is None else _number(name, model_classes))


def _check_used(pairs: Sequence[ClassPair], truth: TrackLines, result: TrackLines, names: Sequence[str]) -> None:
    """Raises EvaluationError where neither file has a line that would count: a number is wrong, not a tracker."""
    if truth.classes is not None and not np.isin(truth.classes[truth.values != 0], [pair.truth for pair in pairs]).any():
        raise EvaluationError(
            f"{truth.path}: has no line to score of class {_listed(pair.truth for pair in pairs)}; {_there(truth)}"
        )
    if result.classes is not None and not np.isin(result.classes, [pair.result for pair in pairs]).any():
        raise EvaluationError(
            f"{result.path}: has no track of class {_listed(pair.result for pair in pairs)}; {_there(result, names)}; "
            "say which stands for which with --classes, such as --classes pedestrian=12"
        )


def _there(lines: TrackLines, names: Sequence[str] = ()) -> str:
    classes = lines.classes if lines.classes is not None else np.zeros(0, np.int64)
    codes = np.unique(classes[lines.values != 0]).tolist()
    return f"it has {_listed(f'{code} ({names[code - 1]})' if 1 <= code <= len(names) else code for code in codes[:8]) or 'none'}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
