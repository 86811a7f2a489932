"""Sets of outlines in YOLO's format: images/.../NAME.jpg and labels/.../NAME.txt, one object per line.

The folder may hold all images, or one part of them beside others (train/, valid/), which its data.yaml one folder up describes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.datasets.folder import IMAGE_SUFFIXES, RENAME, TrueObject, find_images, is_hidden, shared_stem
from engines.datasets.names_yaml import FILES, SPLITS, YamlFile, read_yaml
from engines.datasets.settings import NAME_FILES
from engines.datasets.texts import read_lines, read_names, read_text
from engines.errors import DataError
from engines.types import Size

SPLIT_FOLDERS = ("val", "valid", "validation", "test")
"""Usual names of folders with held-out images."""

FARTHEST = 1.0
"""A point may lie this far outside of its image, in widths and heights. Farther away it is in pixels, or a fault."""


@dataclass(frozen=True)
class OutlineSet:
    """files: image and label of each name. held_out: names of the held-out images, if its folders say so.

    classes: their names. source: where these come from.
    """

    folder: Path
    files: Mapping[str, tuple[Path, Path]]
    held_out: frozenset[str]
    classes: tuple[str, ...]
    source: str


def is_outline_set(folder: Path) -> bool:
    """Whether the set's labels are text files, and none is an image."""
    labels = folder / "labels"
    return (folder / "images").is_dir() and any(_label_files(labels)) and not any(labels.rglob("*.png"))


def find_outlines(path: Path, classes: tuple[str, ...] = ()) -> OutlineSet | None:
    """The set in a folder, or that a yaml file describes; None where there is none.

    classes: their names, where they are known. Raises DataError: no class names, two images of one label, and the like.
    """
    if path.is_file():
        return _of_parts(path.parent, read_yaml(path), classes)
    if is_outline_set(path):
        return _of_folder(path, classes)
    yaml = next((path / name for name in FILES if (path / name).is_file()), None)
    if yaml is not None and not (path / "images").is_dir():
        return _of_parts(path, read_yaml(yaml), classes)
    if any(is_outline_set(path / part) for part in SPLITS):
        return _of_parts(path, YamlFile(path), classes)
    return None


def _of_folder(folder: Path, classes: tuple[str, ...]) -> OutlineSet:
    images, labels = folder / "images", folder / "labels"
    names = ((path.relative_to(images).with_suffix("").as_posix(), path) for path in find_images(folder, deep=True))
    files = _unique((name, image, labels / f"{name}.txt") for name, image in names)
    yaml, source = _yaml_of(folder)
    if not classes:
        classes, source = (yaml.names, source) if yaml and yaml.names else _listed_classes(folder)
    held = {path for part in ("val", "test") for path in _images_of(folder, yaml, part)} if yaml else set()
    by_yaml = frozenset(name for name, (image, _) in files.items() if image.resolve() in held)
    parts = tuple(f"{part}/" for part in SPLIT_FOLDERS if (images / part).is_dir())
    by_folder = frozenset(name for name in files if name.startswith(parts)) if parts else frozenset()
    held_out = by_yaml if by_yaml and len(by_yaml) < len(files) else by_folder
    return OutlineSet(folder, files, held_out, classes, source)


def _of_parts(folder: Path, yaml: YamlFile, classes: tuple[str, ...]) -> OutlineSet:
    """Of train/, valid/ and test/, each with images/ and labels/; or whatever folders the yaml names."""
    found: dict[str, list[Path]] = {part: _images_of(folder, yaml, part) for part in ("train", "val", "test")}
    for name, part in SPLITS.items():
        if not found[part] and (folder / name / "images").is_dir():
            found[part] = [path.resolve() for path in find_images(folder / name, deep=True)]
    images = [path for paths in found.values() for path in paths]
    if not images:
        what = f"{yaml.path}: its train, val and test name no folder with images"
        raise DataError(what, "Write them relative to the file, as in val: valid/images")
    base = folder.resolve()
    named = {path: _name_below(path, base) for path in images}
    files = _unique((named[path], path, _label_of(path)) for path in dict.fromkeys(images))
    if not classes:
        classes, source = (yaml.names, yaml.path.name) if yaml.names else _listed_classes(folder)
    else:
        source = "as given"
    held_out = frozenset(named[path] for part in ("val", "test") for path in found[part])
    return OutlineSet(folder, files, held_out if len(held_out) < len(files) else frozenset(), classes, source)


def _yaml_of(folder: Path) -> tuple[YamlFile | None, str]:
    """The yaml of a folder of images and labels: its own, or that one folder up if this is one of the parts it describes."""
    for name in FILES:
        if (folder / name).is_file():
            return read_yaml(folder / name), name
    base = folder.resolve()
    for path in (base.parent / name for name in FILES):
        if path.is_file():
            yaml = read_yaml(path)
            ends = {tuple(Path(text.replace("\\", "/")).parts[-2:]) for texts in yaml.splits.values() for text in texts}
            if base.name in SPLITS or (base.name, "images") in ends:
                return yaml, str(path)
    return None, ""


def _images_of(folder: Path, yaml: YamlFile, part: str) -> list[Path]:
    """The images of one part, resolved, of the folders and lists that the yaml names."""
    found: list[Path] = []
    for text in yaml.splits.get(part, ()):
        place = _place(yaml.path.parent if yaml.path.is_file() else folder, yaml.root, text)
        if place is None:
            continue
        if place.is_dir():
            inside = (path for path in sorted(place.rglob("*")) if not is_hidden(path, place))
            found += [path.resolve() for path in inside if path.suffix.lower() in IMAGE_SUFFIXES]
        else:
            lines = read_lines(place, "a list of images")
            listed = (_place(place.parent, yaml.root, line) for line in lines)
            found += [path.resolve() for path in listed if path is not None and path.suffix.lower() in IMAGE_SUFFIXES]
    return found


def _place(base: Path, root: str, text: str) -> Path | None:
    """Where a path of a yaml file is: below `path`, beside the file, or there without leading "../", as some tools write it."""
    text = text.replace("\\", "/")
    lead = text
    while lead.startswith(("../", "./")):
        lead = lead.partition("/")[2]
    places = (base / root / text, base / text, base / root / lead, base / lead)
    return next((place for place in places if place.exists()), None)


def _label_of(image: Path) -> Path:
    """YOLO's rule: the last folder called images becomes labels."""
    parts = list(image.parts)
    at = next((index for index in reversed(range(len(parts) - 1)) if parts[index] == "images"), None)
    if at is not None:
        parts[at] = "labels"
    return Path(*parts).with_suffix(".txt")


def _name_below(path: Path, base: Path) -> str:
    return (path.relative_to(base) if path.is_relative_to(base) else path).with_suffix("").as_posix()


def _unique(entries: Iterable[tuple[str, Path, Path]]) -> dict[str, tuple[Path, Path]]:
    """Image and label by name. Raises DataError for two images of one label."""
    files: dict[str, tuple[Path, Path]] = {}
    for name, image, label in entries:
        if name in files:
            raise DataError(f"{image}: {shared_stem(files[name][0])}", RENAME)
        files[name] = (image, label)
    return files


def _listed_classes(folder: Path) -> tuple[tuple[str, ...], str]:
    """Names from a file with one per line. Raises DataError where there is none: they are never guessed."""
    for name in (*NAME_FILES, *(f"labels/{name}" for name in NAME_FILES)):
        if (folder / name).is_file():
            return read_names(folder / name), name
    what = f"{folder}: has no class names: neither names in a {FILES[0]} here or one folder up, nor a {NAME_FILES[0]}"
    raise DataError(what, f"Write them into {folder / NAME_FILES[0]}, one per line, in the order of the ids")


def _label_files(labels: Path) -> Iterator[Path]:
    """Without the file of names that labelling tools put next to the labels."""
    files = (path for path in sorted(labels.rglob("*")) if path.suffix.lower() == ".txt" and path.name not in NAME_FILES)
    return (path for path in files if not is_hidden(path, labels))


def strays(outlines: OutlineSet) -> list[Path]:
    """Label files without an image."""
    known = {label.resolve() for _, label in outlines.files.values()}
    folders = {path for _, label in outlines.files.values() for path in label.parents if path.name == "labels"}
    return [path for folder in sorted(folders) for path in _label_files(folder) if path.resolve() not in known]


def read_outlines(path: Path, size: Size, class_count: int) -> tuple[TrueObject, ...]:
    """The objects in a label file; none where there is no file: YOLO writes none for an image without objects.

    Each line is a class id and a polygon x y x y ... in shares of the width and height. Raises DataError that names the line.
    """
    if not path.is_file():
        return ()
    lines = read_text(path, "a label").splitlines()
    return tuple(_outline(line, f"{path}:{number}", size, class_count) for number, line in enumerate(lines, 1) if line.strip())


def _outline(line: str, place: str, size: Size, class_count: int) -> TrueObject:
    try:
        class_id, *shares = (float(word) for word in line.split())
    except ValueError as error:
        raise DataError(f"{place}: not a line of numbers", "Write a class id and x y x y ... in 0..1") from error
    if len(shares) == 4:
        raise DataError(f"{place}: is a box", "Masks are scored on outlines: a class id and at least three points")
    if len(shares) < 6 or len(shares) % 2:
        raise DataError(f"{place}: has {len(shares)} coordinates", "An outline is at least three points x y")
    if not (math.isfinite(class_id) and class_id.is_integer() and 0 <= class_id < class_count):
        raise DataError(f"{place}: class id {class_id:g}, but the set has {class_count} classes (0..{class_count - 1})")
    strange = next((share for share in shares if not -FARTHEST <= share <= 1 + FARTHEST), None)
    if strange is not None:
        raise DataError(f"{place}: has the coordinate {strange:g}", "Write shares of the width and height, in 0..1")
    polygon = [share * (size.height if index % 2 else size.width) for index, share in enumerate(shares)]
    return TrueObject(int(class_id), [polygon])
