"""Which classes of a result correspond to which of the ground truth: by number, or by name.

MOTChallenge has its own numbers of classes. A result has its model's class ids plus one. Person is 1 in both for COCO's classes;
for other models their class names are needed.
"""

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from engines.errors import EvaluationError, choices, nearest
from engines.models.coco import COCO_CLASSES
from realtime.errors import SettingsError
from realtime.judging.files import TrackRows
from realtime.judging.scores import DISTRACTORS, ClassPair

log = logging.getLogger(__name__)

PEDESTRIAN = 1
TRUE_NAMES = {"pedestrian": PEDESTRIAN, "person": PEDESTRIAN, "car": 3, "bicycle": 4, "motorbike": 5, "motorcycle": 5}
"""Source: MOT16 (Milan et al., 2016), table 3; and COCO's words."""

SYNONYMS = {"pedestrian": "person", "person": "pedestrian", "motorbike": "motorcycle", "motorcycle": "motorbike"}


def class_pairs(
    text: str | None, model_classes: Sequence[str] | None, truth: TrackRows, result: TrackRows
) -> tuple[ClassPair, ...]:
    """The classes to score. text: "1", "person", "1,3", "pedestrian=12"; None for all that the ground truth scores.

    model_classes: the names of the result's classes; None for COCO's. Raises SettingsError or EvaluationError.
    """
    names = COCO_CLASSES if model_classes is None else model_classes
    if text is not None:
        pairs = tuple(_pair(item.strip(), names) for item in text.split(","))
    else:
        pairs = tuple(_by_default(code, model_classes) for code in _scored(truth))
    if len({pair.result for pair in pairs}) < len(pairs):
        raise SettingsError(f"--classes {text}: names a class of the result twice")
    if text is not None and model_classes is None and (words := [word for word in _found(text) if not word.isdigit()]):
        log.warning(
            "--classes: the result does not name its classes, so that %s is taken for COCO's. Name the MODEL that made it, "
            "or write a number",
            " and ".join(words),
        )
    _check_used(pairs, truth, result, model_classes or ())
    return pairs


def _found(text: str) -> list[str]:
    """The words of --classes that are classes of the result."""
    return [item.rpartition("=")[2].strip() for item in text.split(",")]


def _pair(item: str, names: Sequence[str]) -> ClassPair:
    """One word of --classes."""
    true, separator, found = item.partition("=")
    true, found = true.strip(), (found if separator else true).strip()
    if not true or not found:
        raise SettingsError(f'--classes: "{item}" is not a class', "Write person, or 1, or TRUE=FOUND as in pedestrian=12")
    if true.isdigit():
        number = int(true)
    elif true.lower() in TRUE_NAMES:
        number = TRUE_NAMES[true.lower()]
    else:
        what = f'--classes: MOTChallenge has no class "{true}"'
        raise SettingsError(what, f"{choices(true, TRUE_NAMES)} Or write NUMBER={found}")
    return ClassPair(number, int(found) if found.isdigit() else _number(found, names))


def _number(name: str, names: Sequence[str]) -> int:
    """A model's class in a result, counted from 1."""
    lower = [known.lower() for known in names]
    for word in (name.lower(), SYNONYMS.get(name.lower(), "")):
        if word in lower:
            return lower.index(word) + 1
    near = nearest(name, names)
    cure = f'Did you mean "{near}"? Or name' if near else "Name"
    what = f'--classes: the model has no class "{name}"'
    raise SettingsError(what, f"{cure} the MODEL that made the result, or write a number")


def _scored(truth: TrackRows) -> list[int]:
    """The classes with scored rows in the ground truth; people where it has no classes."""
    if truth.classes is None:
        return [PEDESTRIAN]
    codes = np.setdiff1d(truth.classes[truth.values != 0], DISTRACTORS).tolist()
    return [int(code) for code in codes] or [PEDESTRIAN]


def _by_default(code: int, model_classes: Sequence[str] | None) -> ClassPair:
    """The same number, or the class of that name where the model is known."""
    name = next((name for name, number in TRUE_NAMES.items() if number == code), None)
    return ClassPair(code, code if model_classes is None or name is None else _number(name, model_classes))


def _check_used(pairs: Sequence[ClassPair], truth: TrackRows, result: TrackRows, names: Sequence[str]) -> None:
    """Raises EvaluationError where a file has no row of these classes: then a number is wrong, not a tracker."""
    if truth.classes is not None and not np.isin(truth.classes[truth.values != 0], [pair.truth for pair in pairs]).any():
        what = f"{truth.path}: has no row to score of class {_listed(pair.truth for pair in pairs)}"
        raise EvaluationError(what, f"It has {_classes_in(truth)}")
    if result.classes is not None and not np.isin(result.classes, [pair.result for pair in pairs]).any():
        raise EvaluationError(
            f"{result.path}: has no track of class {_listed(pair.result for pair in pairs)}, but of {_classes_in(result, names)}",
            "Map its classes with --classes, such as --classes pedestrian=12",
        )


def _classes_in(rows: TrackRows, names: Sequence[str] = ()) -> str:
    classes = rows.classes if rows.classes is not None else np.zeros(0, np.int64)
    codes = np.unique(classes[rows.values != 0]).tolist()
    return _listed(f"{code} ({names[code - 1]})" if 1 <= code <= len(names) else code for code in codes[:8]) or "none"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
