"""Sets in COCO's format: images, and one JSON file of their objects.

A category's place in the order of ids is its class here. Source: cocodataset.org, "Data format".
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.datasets.folder import TrueObject
from engines.errors import DataError

KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoFile:
    """The content of such a file. images: path by name. objects: by the same names."""

    classes: tuple[str, ...]
    images: Mapping[str, Path]
    objects: Mapping[str, tuple[TrueObject, ...]]


def find_coco_file(folder: Path) -> Path | None:
    """The one JSON file of objects in a folder or in its annotations/: of several, that of the held-out images.

    Raises DataError where several remain.
    """
    files = [path for place in (folder, folder / "annotations") for path in sorted(place.glob("*.json"))]
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
    try:
        return _checked(path, facts)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: an entry has no {error}, or has it in another form than COCO's") from error


def _checked(path: Path, facts: dict[str, Any]) -> CocoFile:
    categories = sorted(facts["categories"], key=lambda entry: entry["id"])
    class_of = {entry["id"]: index for index, entry in enumerate(categories)}
    name_of = {entry["id"]: Path(entry["file_name"]).with_suffix("").as_posix() for entry in facts["images"]}
    if not name_of:
        raise DataError(f"{path}: lists no image")
    objects: dict[str, list[TrueObject]] = defaultdict(list)
    for entry in facts["annotations"]:
        if entry["image_id"] not in name_of or entry["category_id"] not in class_of:
            raise DataError(f"{path}: annotation {entry.get('id')} names an image or a category that is not listed")
        if not entry.get("segmentation"):
            what = f"{path}: annotation {entry.get('id')} has no segmentation"
            raise DataError(what, "Masks are scored on outlines, not on boxes")
        is_crowd = bool(entry.get("iscrowd", 0))
        objects[name_of[entry["image_id"]]].append(TrueObject(class_of[entry["category_id"]], entry["segmentation"], is_crowd))
    images = {name_of[entry["id"]]: _image_path(path, entry["file_name"]) for entry in facts["images"]}
    classes = tuple(str(entry["name"]) for entry in categories)
    return CocoFile(classes, images, {name: tuple(objects[name]) for name in images})


def _image_path(json_path: Path, file_name: str) -> Path:
    """Where the image is: next to the file, in images/, or in the folder named after the split."""
    split = json_path.stem.removeprefix("instances_")
    bases, folders = json_path.parents[:2], (".", "images", split, f"images/{split}")
    places = [base / folder for base in bases for folder in folders]
    for place in places:
        if (place / file_name).is_file():
            return place / file_name
    searched = ", ".join(str(place) for place in places[:4])
    raise DataError(f"{json_path}: its image {file_name} was not found in {searched}, nor one folder up")
