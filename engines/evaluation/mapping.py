"""A model's classes and predictions in those of a set: as given by the user, by its `means`, by equal names and by synonyms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from engines.datasets.settings import SetSettings
from engines.errors import EvaluationError, nearest
from engines.models.card import ModelCard
from engines.models.class_sets import numbered
from engines.models.coco import COCO_CLASSES
from engines.tables import read_table
from engines.types import F32, U8, VOID_CLASS, Segmentation, Size

TABLE = Path(__file__).with_name("synonyms.toml")
"""Synonyms, as data."""

GIVEN, BY_SET, EQUAL, KNOWN = "as given", "by the set's means", "equal name", "known name"
BY_COCO = "by COCO's order, as the model names none of its 80 classes"
"""How a class was mapped."""

OPAQUE = 127
"""Alpha above this, one half, is foreground."""

LANE = 2
"""In `Segmentation.surface`."""


@dataclass(frozen=True)
class ClassMapping:
    """Set class of each class of a model.

    set_of:   (at least 256,) uint8: model class → set class; 255 where the set has no such class.
    unnamed:  set class of a class that the set does not have: its background, or 255.
    nothing:  set class of a pixel without a class: what the user maps a void class to; else as `unnamed`.
    parts:    set class → (model class, how it was mapped), in the model's order.
    is_known: of each set class, whether the model can predict it. is_void: whether `means` excludes its pixels.
    """

    set_of: U8
    unnamed: int
    nothing: int
    parts: Mapping[str, tuple[tuple[str, str], ...]]
    is_known: tuple[bool, ...]
    is_void: tuple[bool, ...]

    def described(self, set_classes: Sequence[str]) -> list[str]:
        """A line for each set class without a model class of equal name; one for all that the model does not know."""
        lines, unknown = [], []
        for class_id, name in enumerate(set_classes):
            entries = self.parts.get(name, ())
            if [how for _, how in entries] == [EQUAL]:
                continue
            reasons = ", ".join(dict.fromkeys(how for _, how in entries))
            if entries:
                lines.append(f"{name} = {', '.join(model_class for model_class, _ in entries)} ({reasons})")
            elif self.is_void[class_id]:
                lines.append(f"{name}: left out by the set's means")
            elif class_id == self.unnamed:
                lines.append(f"{name} = all that the model does not map to another class")
            else:
                unknown.append(name)
        return lines + ([f"{', '.join(unknown)}: not known to the model"] if unknown else [])


def map_classes(
    settings: SetSettings,
    model_classes: Sequence[str],
    void: Sequence[str] = (),
    given: Mapping[str, Sequence[str]] | None = None,
) -> ClassMapping:
    """Map a model's classes onto a set's.

    void: model classes that mean "nothing". given: set class → model classes, from the user; takes precedence.
    Raises EvaluationError where no class maps, or `given` has an unknown class.
    """
    given = given or {}
    _check_given(given, settings.classes, model_classes)
    set_of = np.full(max(256, len(model_classes)), VOID_CLASS, np.uint8)
    parts: dict[str, list[tuple[str, str]]] = {}
    for class_id, (name, known_as) in enumerate(zip(model_classes, _known_as(model_classes, settings), strict=True)):
        found = _match(name, settings, given)
        if found is None and known_as != name and (match := _match(known_as, settings, given)):
            found = match[0], BY_COCO
        if found and not (name in void and found[1] != GIVEN):
            set_of[class_id] = settings.classes.index(found[0])
            parts.setdefault(found[0], []).append((name, found[1]))
    background = next((index for index, name in enumerate(settings.classes) if _plain(name) in _table().background), VOID_CLASS)
    if not any(name != settings.classes[background] if background != VOID_CLASS else True for name in parts):
        raise EvaluationError(
            f"the model's classes ({_short(model_classes)}) and those of {settings.name} ({_short(settings.classes)}) have "
            "nothing in common",
            f"Map them: --means '{settings.classes[-1]}={model_classes[0]}'",
        )
    set_of[set_of == VOID_CLASS] = background
    is_void = tuple(name in settings.means and not settings.means[name] and name not in given for name in settings.classes)
    is_known = tuple(name in parts or index == background for index, name in enumerate(settings.classes))
    # Void classes have no pixels of their own in a class map: what the user maps one to is what pixels without a class are.
    mapped = {name for entries in parts.values() for name, _ in entries}
    of_void = [int(set_of[index]) for index, name in enumerate(model_classes) if name in void and name in mapped]
    nothing = of_void[0] if of_void else background
    return ClassMapping(set_of, background, nothing, {name: tuple(entries) for name, entries in parts.items()}, is_known, is_void)


def merge_matrix(settings: SetSettings, model_classes: Sequence[str]) -> F32:
    """(set classes, model classes) float32: the probability that a pixel of this model class has this set class.

    A model class that several set classes cover is shared evenly among them, so each covered column sums to 1: with whole
    shares, predicting the ambiguous class everywhere would cost nothing. A model class that none covers has a column of zeros.
    """
    merge = np.zeros((len(settings.classes), len(model_classes)), np.float32)
    for row, name in enumerate(settings.classes):
        for target in settings.means.get(name, (name,)):
            merge[row, model_classes.index(target)] = 1
    return np.asarray(merge / np.maximum(1, merge.sum(axis=0)), np.float32)


def class_table(settings: SetSettings, model_classes: Sequence[str]) -> U8:
    """(256,) uint8 look-up from a model's class to the set's class; 255 where the set has no such class.

    Where several set classes cover one model class, the first of them is taken, which can only lower the score.
    """
    merge = merge_matrix(settings, model_classes)
    table = np.full(256, VOID_CLASS, np.uint8)
    table[: len(model_classes)] = np.where(merge.any(axis=0), merge.argmax(axis=0), VOID_CLASS)
    return table


def truth_table(settings: SetSettings, model_classes: Sequence[str]) -> U8:
    """(256,) uint8 look-up from a set's class to the one model class it covers; 255 where it covers none, or several."""
    merge = merge_matrix(settings, model_classes) > 0
    table = np.full(256, VOID_CLASS, np.uint8)
    table[: len(merge)] = np.where(merge.sum(axis=1) == 1, merge.argmax(axis=1), VOID_CLASS)
    return table


def check_readable(card: ModelCard) -> None:
    """Raises EvaluationError for a model that gives no masks."""
    if card.family == "boxes":
        what = f"{card.name}: a detector gives boxes and no masks, so pixels cannot be scored"
        raise EvaluationError(what, "Use a set with single objects, whose boxes can")


def read_classes(segmentation: Segmentation, card: ModelCard, mapping: ClassMapping, size: Size) -> U8:
    """(H, W) uint8 of the set's classes, 255 for none of them.

    From the class map; or from a matte, where it is more than half opaque; or from the masks of objects, better ones on top.
    """
    target = (size.width, size.height)
    table = mapping.set_of[:256].copy()
    table[VOID_CLASS] = mapping.nothing
    if segmentation.class_map is not None:
        return np.asarray(table[cv2.resize(segmentation.class_map, target, interpolation=cv2.INTER_NEAREST_EXACT)], np.uint8)
    if segmentation.alpha is not None:
        alpha = np.asarray(cv2.resize(segmentation.alpha, target, interpolation=cv2.INTER_LINEAR))
        names = enumerate(card.classes)
        matte = next(class_id for class_id, name in names if name != "background" and name not in card.void)
        foreground = mapping.set_of[matte]
        return np.where(alpha > OPAQUE, foreground, np.uint8(mapping.nothing)).astype(np.uint8)
    instances = segmentation.instances
    of_row = np.full(256, mapping.nothing, np.uint8)
    of_row[1 : len(instances) + 1] = mapping.set_of[instances.class_ids]
    return np.asarray(of_row[cv2.resize(instances.label_map, target, interpolation=cv2.INTER_NEAREST_EXACT)], np.uint8)


def read_surface(segmentation: Segmentation, size: Size) -> tuple[U8, U8] | None:
    """Drivable area and lane lines, each (H, W) uint8 of 0 and 1; None where the model does not predict them.

    A lane line is painted on drivable area, so it counts as both.
    """
    if segmentation.surface is None:
        return None
    surface = np.asarray(
        cv2.resize(segmentation.surface, (size.width, size.height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
    )
    return (surface > 0).astype(np.uint8), (surface == LANE).astype(np.uint8)


def parse_means(text: str) -> dict[str, tuple[str, ...]]:
    """ "pedestrian=person,rider; car=car,truck" as set class → model classes. Raises EvaluationError."""
    means: dict[str, tuple[str, ...]] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        name, separator, targets = part.partition("=")
        names = tuple(target.strip() for target in targets.split(",") if target.strip())
        if not (separator and name.strip() and names):
            what = f'--means "{part.strip()}" is not a mapping'
            raise EvaluationError(what, "Write SET CLASS=MODEL CLASS,MODEL CLASS; separate several by ;")
        means[name.strip()] = names
    return means


def _check_given(given: Mapping[str, Sequence[str]], set_classes: Sequence[str], model_classes: Sequence[str]) -> None:
    for name, targets in given.items():
        wrong = [(name, set_classes, "set")] if name not in set_classes else []
        wrong += [(target, model_classes, "model") for target in targets if target not in model_classes]
        for word, known, whose in wrong:
            near = nearest(word, known)
            cure = f'Did you mean "{near}"?' if near else f"Its classes: {_short(known)}"
            raise EvaluationError(f'--means: the {whose} has no class "{word}"', cure)


def _known_as(model_classes: Sequence[str], settings: SetSettings) -> Sequence[str]:
    """The names to match: COCO's where 80 classes have none and every class of the set is one of COCO's; else the model's own."""
    is_unnamed = len(model_classes) == len(COCO_CLASSES) and list(model_classes) == numbered(len(COCO_CLASSES))
    named = [name for name in settings.classes if _plain(name) not in _table().background]
    return COCO_CLASSES if is_unnamed and named and all(name in COCO_CLASSES for name in named) else model_classes


def _match(name: str, settings: SetSettings, given: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The set class of a model class, and how it was mapped."""
    for set_class, targets in given.items():
        if name in targets:
            return set_class, GIVEN
    # Classes that the user has mapped are taken, and void ones take none.
    free = [set_class for set_class in settings.classes if set_class not in given and settings.means.get(set_class, ("",))]
    ways = [(target, set_class, BY_SET) for set_class in free for target in settings.means.get(set_class, ())]
    ways += [(set_class, set_class, "") for set_class in free]
    found = [(far, set_class, way) for other, set_class, way in ways if (far := _distance(name, other)) is not None]
    if not found:
        return None
    distance, set_class, way = min(found, key=lambda one: one[0])  # of several, the first
    return set_class, way or (KNOWN if distance else EQUAL)


@dataclass(frozen=True)
class _Synonyms:
    """group: name → number of its group. kinds: group → the groups it may also count as, nearest first."""

    group: Mapping[str, int]
    kinds: Mapping[int, tuple[int, ...]]
    background: frozenset[str]


@lru_cache(maxsize=1)
def _table() -> _Synonyms:
    facts = read_table(TABLE, EvaluationError)
    group = {name: number for number, line in enumerate(facts["same"]) for name in line}
    for name in facts["kinds"]:
        group.setdefault(name, len(facts["same"]) + len(group))
    kinds = {group[name]: tuple(group[kind] for kind in kinds) for name, kinds in facts["kinds"].items()}
    return _Synonyms(group, kinds, frozenset(facts["background"]))


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _distance(name: str, other: str) -> int | None:
    """How far a model's class is from another one: 0 for equal names, 1 for synonyms, more for kinds; None if unrelated."""
    name, other, table = _plain(name), _plain(other), _table()
    if name == other or {name, other} <= table.background:
        return 0
    group, target = table.group.get(name), table.group.get(other)
    if group is None or target is None:
        return None
    kinds = (group, *table.kinds.get(group, ()))
    return 1 + kinds.index(target) if target in kinds else None


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f", ... {len(names)} in total" if len(names) > 6 else "")
