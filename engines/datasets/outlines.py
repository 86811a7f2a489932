"""Sets of outlines in YOLO's format: images/.../NAME.jpg and labels/.../NAME.txt, one object per line."""

import re
from collections.abc import Iterator
from pathlib import Path

from engines.datasets.folder import TrueObject, find_images
from engines.datasets.settings import NAME_FILES, read_names
from engines.errors import DataError
from engines.models.coco import COCO_CLASSES
from engines.types import Size

NAMES_YAML = ("data.yaml", "dataset.yaml")
SPLIT_FOLDERS = ("val", "valid", "test")
"""Usual names of folders with held-out images."""

_ENTRY = re.compile(r"""^\s*(?:-|\d+\s*:)\s*(['"]?)(?P<name>.*?)\1\s*(?:\#.*)?$""")
_INLINE = re.compile(r"""\s*(?:\d+\s*:\s*)?(['"]?)(?P<name>[^,'"]+)\1\s*(?:,|$)""")


def is_outline_set(folder: Path) -> bool:
    """Whether the set's labels are text files, and none is an image."""
    return (folder / "images").is_dir() and any(_label_files(folder)) and not any((folder / "labels").rglob("*.png"))


def image_files(folder: Path) -> dict[str, Path]:
    """Every image under `folder`/images by its path below it without suffix ("val/000036"), sorted. Raises DataError for none."""
    images = folder / "images"
    return {path.relative_to(images).with_suffix("").as_posix(): path for path in find_images(folder, deep=True)}


def read_outlines(path: Path, size: Size, class_count: int) -> tuple[TrueObject, ...]:
    """The objects in a label file; none where there is no file: YOLO writes none for an image without objects.

    Each line is a class id and a polygon x y x y ... in shares of the width and height. Raises DataError that names the line.
    """
    if not path.is_file():
        return ()
    objects = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            class_id, *shares = (float(word) for word in line.split())
        except ValueError as error:
            raise DataError(f"{path}:{number}: not a line of numbers", "Write a class id and x y x y ... in 0..1") from error
        if len(shares) == 4:
            raise DataError(f"{path}:{number}: is a box", "Masks are scored on outlines: a class id and at least three points")
        if len(shares) < 6 or len(shares) % 2:
            raise DataError(f"{path}:{number}: has {len(shares)} coordinates", "An outline is at least three points x y")
        if not (class_id.is_integer() and 0 <= class_id < class_count):
            raise DataError(
                f"{path}:{number}: class id {class_id:g}, but the set has {class_count} classes (0..{class_count - 1})"
            )
        polygon = [share * (size.height if index % 2 else size.width) for index, share in enumerate(shares)]
        objects.append(TrueObject(int(class_id), [polygon]))
    return tuple(objects)


def class_names(folder: Path) -> tuple[tuple[str, ...], str]:
    """The names of such a set, and their origin: its yaml, a file of names, or COCO's where all ids fit."""
    for name in NAMES_YAML:
        if (folder / name).is_file() and (names := names_in_yaml((folder / name).read_text(encoding="utf-8"))):
            return names, name
    for name in (*NAME_FILES, *(f"labels/{name}" for name in NAME_FILES)):
        if (folder / name).is_file():
            return read_names(folder / name), name
    texts = [path.read_text(encoding="utf-8") for path in _label_files(folder)]
    ids = {line.split()[0] for text in texts for line in text.splitlines() if line.strip()}
    if all(text.isdigit() and int(text) < len(COCO_CLASSES) for text in ids):
        return COCO_CLASSES, "COCO, since none are given"
    raise DataError(f"{folder}: has no class names", f"Write them into {folder / NAME_FILES[0]}, one per line")


def _label_files(folder: Path) -> Iterator[Path]:
    """Without the file of names that labelling tools put next to the labels."""
    return (path for path in sorted((folder / "labels").rglob("*.txt")) if path.name not in NAME_FILES)


def names_in_yaml(text: str) -> tuple[str, ...]:
    """The list or table under `names:` in the simple yaml of such sets; () where there is none."""
    lines = text.splitlines()
    start = next((index for index, line in enumerate(lines) if line.startswith("names:")), None)
    if start is None:
        return ()
    inline = lines[start].removeprefix("names:").strip()
    if inline.startswith(("[", "{")):
        rest = " ".join([inline, *lines[start + 1 :]])
        body = rest[1 : min(rest.find(end) for end in "]}" if end in rest)]
        return tuple(match["name"].strip() for match in _INLINE.finditer(body) if match["name"].strip())
    names = []
    for line in lines[start + 1 :]:
        entry = _ENTRY.match(line)
        if entry is None:
            if line.strip() and not line.lstrip().startswith("#"):
                break
            continue
        names.append(entry["name"].strip())
    return tuple(names)
