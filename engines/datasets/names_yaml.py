"""The yaml file of a set of outlines: its class names by their ids, and its folders of images. The only module that reads YAML.

The nodes of the file are read, not the objects that YAML makes of them: a class called `no` or `1e3` keeps its name, aliases and
merges of a hostile file are never expanded, and no tag makes anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.datasets.settings import MAX_BYTES
from engines.datasets.texts import read_text
from engines.errors import DataError

FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""Usual names, in the order in which they are looked for."""

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Keys, and the parts of a set that they mean."""

_ID = re.compile(r"[0-9]{1,6}")
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True)
class YamlFile:
    """names: of the classes, in the order of their ids; () where the file has none. root: its `path`, or "". splits: of
    "train", "val" and "test", the places of images: folders, or lists of files."""

    path: Path
    names: tuple[str, ...] = ()
    root: str = ""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_yaml(path: Path) -> YamlFile:
    """Read and check a file. Raises DataError that names it, and the line where it is not YAML."""
    try:
        import yaml
    except ImportError as error:
        raise DataError(f"{path}: reading it needs PyYAML, which is not installed", "Install it: pip install pyyaml") from error
    text = read_text(path, "YAML")
    if len(text) > MAX_BYTES:
        raise DataError(f"{path}: is larger than {MAX_BYTES >> 10} KiB, so it does not describe a set")
    try:
        top = yaml.compose(text, yaml.SafeLoader)  # in Python: too deep a nest is an error, no crash
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if top is None:
        return YamlFile(path)
    if not isinstance(top, yaml.MappingNode):
        raise DataError(f"{path}: is not a table of keys, such as names: [a, b]")
    nodes: dict[str, Any] = {}
    for key, value in top.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in nodes:
                raise DataError(f"{path}:{key.start_mark.line + 1}: has the key {key.value[:40]} twice", "Remove one of the two")
            nodes[key.value] = value
    names = _names(path, nodes.get("names"))
    _check_count(path, nodes.get("nc"), names)
    root = nodes.get("path")
    splits = {SPLITS[key]: _texts(value) for key, value in nodes.items() if key in SPLITS}
    return YamlFile(path, names, root.value.strip() if isinstance(root, yaml.ScalarNode) else "", splits)


def _names(path: Path, node: Any) -> tuple[str, ...]:
    """Names by id: from a list, or from a table whose keys are ids in any order. Raises DataError where one is missing."""
    if node is None or _is_null(node):
        return ()
    place = f"{path}:{node.start_mark.line + 1}"
    if node.id == "sequence":
        entries = list(enumerate(node.value))
    elif node.id == "mapping":
        entries = [(_id(path, key), value) for key, value in node.value]
    else:
        raise DataError(f"{place}: names is neither a list nor a table of ids", "Write names: [a, b], in the order of the ids")
    found: dict[int, str] = {}
    for class_id, value in entries:
        if class_id in found:
            raise DataError(f"{path}:{value.start_mark.line + 1}: names the class {class_id} twice", "Remove one of the two")
        if value.id != "scalar" or _is_null(value) or not value.value.strip():
            raise DataError(f"{path}:{value.start_mark.line + 1}: the class {class_id} has no name", "Write it as text")
        found[class_id] = value.value.strip()
    missing = [str(class_id) for class_id in range(len(found)) if class_id not in found]
    if missing:
        few = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(f"{place}: names has {len(found)} classes, but none with the id {few}", "Name every id from 0 on")
    return tuple(found[class_id] for class_id in range(len(found)))


def _id(path: Path, node: Any) -> int:
    if node.id != "scalar" or not _ID.fullmatch(node.value.strip()):
        what = f"{path}:{node.start_mark.line + 1}: names has the key {getattr(node, 'value', '?')!r} where an id is expected"
        raise DataError(what[:300], "Write names: {0: a, 1: b}, or a list in the order of the ids")
    return int(node.value)


def _check_count(path: Path, node: Any, names: tuple[str, ...]) -> None:
    if node is None or not names or node.id != "scalar" or not _ID.fullmatch(node.value.strip()):
        return
    if int(node.value) != len(names):
        place = f"{path}:{node.start_mark.line + 1}"
        raise DataError(f"{place}: nc is {node.value.strip()}, but names has {len(names)} classes", "Correct one of the two")


def _texts(node: Any) -> tuple[str, ...]:
    nodes = node.value if node.id == "sequence" else [node]
    return tuple(part.value.strip() for part in nodes if part.id == "scalar" and not _is_null(part) and part.value.strip())


def _is_null(node: Any) -> bool:
    return node.id == "scalar" and str(node.tag) == _NULL
