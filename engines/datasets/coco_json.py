"""Sets in COCO's format: images, and one JSON file of their objects.

A category's place in the order of ids is its class here. An annotation that cannot be used is left out and reported; the others
count. Source: cocodataset.org, "Data format".
"""

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from engines.datasets.coco_outline import checked_outline
from engines.datasets.folder import TrueObject, is_hidden
from engines.errors import DataError
from engines.types import Size

KEYS = ("images", "annotations", "categories")

PARTS = ("valid", "val", "validation")
"""Folders of held-out images with a file of their own among them, beside train/."""

Id: TypeAlias = int | str
"""An id of digits in quotes is the number."""


@dataclass(frozen=True, slots=True)
class _Annotation:
    shown_id: str
    class_id: int
    segmentation: Any
    is_crowd: bool


@dataclass(frozen=True)
class CocoFile:
    """The content of such a file. images: path by name. left_out: a line for each annotation that cannot be used; `objects_of`
    adds more."""

    path: Path
    classes: tuple[str, ...]
    images: Mapping[str, Path]
    left_out: list[str]
    _sizes: Mapping[str, Size | None]
    _annotations: Mapping[str, list[_Annotation]]
    _seen: set[str] = field(default_factory=set)

    def objects_of(self, name: str, size: Size) -> tuple[TrueObject, ...]:
        """The objects in an image, which has this size. Raises DataError where the file gives it another one."""
        declared = self._sizes[name]
        if declared not in (None, size):
            what = f"{self.path}: {self.images[name].name} is {size}, but {declared} here: its outlines do not fit"
            raise DataError(what, "Take the images that were labelled, not scaled or turned")
        objects = []
        for entry in self._annotations.get(name, ()):
            wrong = ""
            try:
                outline, wrong = checked_outline(entry.segmentation, size)
                objects.append(TrueObject(entry.class_id, outline, entry.is_crowd))
            except DataError as error:
                wrong = error.what
            if wrong and name not in self._seen:
                self.left_out.append(f"{self.path}: annotation {entry.shown_id} {wrong}")
        self._seen.add(name)
        return tuple(objects)


def find_coco_file(folder: Path) -> Path | None:
    """The one JSON file of objects in a folder or in its annotations/: of several, that of the held-out images.

    Raises DataError where several remain.
    """
    places = (folder, folder / "annotations")
    files = [path for place in places for path in sorted(place.glob("*.json")) if not is_hidden(path, folder)]
    files = files or [path for part in PARTS for path in sorted((folder / part).glob("*.json")) if not is_hidden(path, folder)]
    instances = [path for path in files if path.name.startswith("instances_")] or files
    held_out = [path for path in instances if "val" in path.stem] or instances
    if len(held_out) > 1:
        names = ", ".join(path.name for path in held_out)
        raise DataError(f"{folder}: has several JSON files ({names})", "Name one of them: --data FILE.json")
    return held_out[0] if held_out else None


def read_coco_file(path: Path) -> CocoFile:
    """Read and check a file. Raises DataError that names the file and the fault."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(facts, dict) or not all(isinstance(facts.get(key), list) for key in KEYS):
        raise DataError(f"{path}: not in COCO's format, which has the lists {', '.join(KEYS)}")
    for key in KEYS:
        if not all(isinstance(entry, dict) for entry in facts[key]):
            raise DataError(f"{path}: {key} has an entry that is not a table")
    if not facts["images"]:
        raise DataError(f"{path}: lists no image")
    classes, class_of = _categories(path, facts["categories"])
    names, images, sizes = _images(path, facts["images"])
    annotations: dict[str, list[_Annotation]] = defaultdict(list)
    left_out: list[str] = []
    seen: dict[tuple[str, int, str], _Annotation] = {}
    for entry in facts["annotations"]:
        shown = _shown(entry.get("id"))
        try:
            image, class_id = _place_of(entry, names, class_of)
            annotation = _annotation(entry, shown, class_id)
            outline = image, class_id, repr(annotation.segmentation)
            if seen.setdefault(outline, annotation) is not annotation:
                raise DataError(f"is the same as annotation {seen[outline].shown_id}")
            annotations[image].append(annotation)
        except DataError as error:
            left_out.append(f"{path}: annotation {shown} {error.what}")
    if not facts["annotations"]:
        raise DataError(f"{path}: has no annotation, so there is no object to find", "Name the file that holds the outlines")
    if not annotations:
        count = len(facts["annotations"])
        raise DataError(
            f"{left_out[0]}; none of its {count} annotations can be used", "Masks are scored on outlines, not on boxes"
        )
    return CocoFile(path, classes, images, left_out, sizes, annotations)


def _categories(path: Path, entries: list[dict[str, Any]]) -> tuple[tuple[str, ...], dict[Id, int]]:
    """The class names by rising id, and the class of each id; ids that are words keep the order of the file."""
    found: dict[Id, str] = {}
    for entry in entries:
        key = _id(entry.get("id"))
        if key is None or not isinstance(entry.get("name"), str) or not entry["name"].strip():
            raise DataError(f"{path}: a category has no id or no name: {_shown(entry)}")
        if key in found:
            raise DataError(f"{path}: the category {key} is listed twice, as {found[key]} and as {entry['name']}")
        found[key] = entry["name"].strip()
    numbers = sorted(key for key in found if isinstance(key, int))
    ordered: list[Id] = [*numbers] if len(numbers) == len(found) else list(found)
    twice = [name for name, count in Counter(found.values()).items() if count > 1]
    if twice:
        raise DataError(f'{path}: two categories are called "{twice[0]}"', "Rename one of the two")
    return tuple(found[key] for key in ordered), {key: index for index, key in enumerate(ordered)}


def _images(path: Path, entries: list[dict[str, Any]]) -> tuple[dict[Id, str], dict[str, Path], dict[str, Size | None]]:
    """The name of each id, and the path and the declared size of each name."""
    file_of: dict[Id, str] = {}
    for entry in entries:
        key, file_name = _id(entry.get("id")), entry.get("file_name")
        if key is None or not isinstance(file_name, str) or not file_name.strip("/. "):
            missing = "id" if key is None else "file_name"
            raise DataError(f"{path}: an entry has no '{missing}', or has it in another form than COCO's: {_shown(entry)}")
        if key in file_of:
            raise DataError(f"{path}: the image {key} is listed twice, as {file_of[key]} and as {file_name}")
        file_of[key] = file_name
    stems = Counter(_stem(file_name) for file_name in file_of.values())
    names = {key: _stem(file) if stems[_stem(file)] == 1 else file.replace("\\", "/") for key, file in file_of.items()}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise DataError(f"{path}: two images are called {twice[0]}", "Give each image one entry")
    images = {names[key]: _image_path(path, file_name) for key, file_name in file_of.items()}
    return names, images, {names[_id(entry["id"]) or 0]: _size(entry) for entry in entries}


def _size(entry: Mapping[str, Any]) -> Size | None:
    sides = [entry.get(key) for key in ("width", "height")]
    width, height = (side if isinstance(side, int) and not isinstance(side, bool) and side > 0 else None for side in sides)
    return Size(width, height) if width and height else None


def _place_of(entry: Mapping[str, Any], names: Mapping[Id, str], class_of: Mapping[Id, int]) -> tuple[str, int]:
    image, category = _id(entry.get("image_id")), _id(entry.get("category_id"))
    if image is None or image not in names:
        raise DataError(f"is of the image {_shown(entry.get('image_id'))}, which is not listed")
    if category is None or category not in class_of:
        raise DataError(f"is of the category {_shown(entry.get('category_id'))}, which is not listed")
    return names[image], class_of[category]


def _annotation(entry: Mapping[str, Any], shown_id: str, class_id: int) -> _Annotation:
    segmentation, is_crowd = entry.get("segmentation"), entry.get("iscrowd", 0)
    if not segmentation:
        raise DataError("has no segmentation, only a box")
    if is_crowd not in (0, 1):
        raise DataError(f"has {_shown(is_crowd)} for iscrowd, which is 0 or 1")
    return _Annotation(shown_id, class_id, segmentation, bool(is_crowd))


def _id(value: Any) -> Id | None:
    """An id as a number where it is one, in quotes or not; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else (text or None)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _stem(file_name: str) -> str:
    return Path(file_name.replace("\\", "/")).with_suffix("").as_posix()


def _image_path(json_path: Path, file_name: str) -> Path:
    """Where the image is: next to the file, in images/, or in the folder named after the split; else by its bare name there."""
    split = json_path.stem.removeprefix("instances_")
    bases, folders = json_path.parents[:2], (".", "images", split, f"images/{split}")
    places = [base / folder for base in bases for folder in folders]
    plain = file_name.replace("\\", "/")
    for name in dict.fromkeys((file_name, plain, plain.partition("?")[0].rpartition("/")[2])):  # a URL ends with the name
        for place in places:
            with contextlib.suppress(OSError, ValueError):  # a name that no system takes
                if name and (place / name).is_file():
                    return place / name
    searched = ", ".join(str(place) for place in places[:4])
    raise DataError(f"{json_path}: its image {file_name} was not found in {searched}, nor one folder up")
