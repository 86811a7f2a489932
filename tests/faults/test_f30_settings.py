"""F30: random mutations of every file of settings give settings, or one line that names the file; never a traceback."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engines.datasets.coco_json import read_coco_file
from engines.datasets.holding import listed_names
from engines.datasets.names_yaml import read_yaml
from engines.datasets.settings import open_settings
from engines.errors import SegmentationError
from engines.models import zoo
from engines.models.card import ModelCard, card_from_dict, read_toml
from engines.models.collection.manifest import read_manifest
from engines.training.opening import read_recipe
from engines.types import Size
from realtime.bench.card import read_card
from realtime.errors import SettingsError
from realtime.knobs import Knobs
from realtime.settings import Settings, load_settings

PRESETS = zoo.assets_dir() / "presets"

BENCH = Path(__file__).parents[2] / "benchmarks" / "results" / "bench-road-ort.json"

PRESET = """model = "road"
backend = "trt"
width = 1280
threshold = 0.3
hide = ["sky"]
masks = true
background = "#202830"
[tracking]
lost_s = 1.0
[engine]
input_px = [512, 256]
inflight = 2
"""
DATASET = """folder = "."
name = "field"
classes = ["soil", "crop", "weed"]  # in the order of their ids
hold_out = ["row7_*", 'row9_*']
hold_out_list = "val.txt"
share = 2.5
surface = "lane"
[means]
crop = ["plant"]
weed = []
"""
RECIPE = """based_on = "binary"
name = "field"
[net]
width = 0.5
[schedule]
steps = 2000
l1 = 1e-6
[augmentation]
rotate_deg = 180
"""
YAML = """path: ../set  # dataset root
train: images/train
val: [images/val, ./more]
nc: 3
names:
  0: 'person'
  1: "traffic light"
  2: &a dog
"""
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 9}],
        "categories": [{"id": 1, "name": "crack"}, {"id": 2, "name": "pothole"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "segmentation": [[1, 1, 7, 1.5, 7, 8]], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"size": [9, 8], "counts": [10, 62]}, "iscrowd": 1},
            {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"size": [9, 8], "counts": "P2"}},
        ],
    }
)
TOKENS = [
    "nan", "inf", "-inf", "1e308", "1e999", "9" * 400, "-1", "0", "true", "null", "~", '""', "''", '"', "'", "[", "]", "{", "}",
    "[[", "[a.b]", "=", ":", ",", "#", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\ufeff", "\u2028", "ü", "\U0001f600", "\\",
    "..", "/", "*a", "&a", "<<: *a", "!!python/object:os.system", "- ", "1979-05-27", "a" * 3000, "[" * 600, "name", "classes",
]  # fmt: skip
PLAIN = ModelCard("streets", "semantic", zoo.find("road").card.input, {"labels": "labels"}, ("road", "sky"))


def _preset(path: Path) -> None:
    settings = load_settings(PRESETS, str(path), {})
    assert isinstance(settings.knobs(PLAIN, settings.first_knobs()), Knobs)
    settings.decode_settings(0.1)


def _coco(path: Path) -> None:
    file = read_coco_file(path)
    for name in file.images:
        file.objects_of(name, Size(8, 9))


Read = Callable[[Path], object]
KINDS: dict[str, tuple[str, Callable[[], str], Read]] = {
    "preset": ("mine.toml", lambda: PRESET, _preset),
    "card": (
        "card.toml",
        lambda: (zoo.assets_dir() / "models" / "road" / "card.toml").read_text(),
        lambda path: card_from_dict(read_toml(path), str(path)),
    ),
    "set": ("dataset.toml", lambda: DATASET, open_settings),
    "recipe": ("recipe.toml", lambda: RECIPE, lambda path: read_recipe(str(path))),
    "manifest": ("manifest.toml", lambda: (zoo.assets_dir() / "models" / "manifest.toml").read_text(), read_manifest),
    "yaml": ("data.yaml", lambda: YAML, read_yaml),
    "coco": ("instances.json", lambda: COCO, _coco),
    "bench": ("card.json", lambda: BENCH.read_text(), read_card),
    "list": ("val.txt", lambda: "a\nimages/b.jpg 1\n'c d'\n", lambda path: listed_names(path, ["a", "b", "c d"])),
}  # fmt: skip


def mutated(data: bytes, generator: random.Random) -> bytes:
    """One to four changes: bytes, tokens, lines, and values exchanged for others."""
    for _ in range(generator.randint(1, 4)):
        at, length = generator.randrange(len(data) + 1), generator.randint(0, 8)
        lines = data.split(b"\n")
        way = generator.randrange(7)
        if way == 0:
            data = data[:at] + bytes(generator.randrange(256) for _ in range(generator.randint(1, 4))) + data[at + length :]
        elif way == 1:
            data = data[:at] + generator.choice(TOKENS).encode() + data[at:]
        elif way == 2:
            data = data[:at] + data[at + length * 4 :]
        elif way == 3:
            generator.shuffle(lines)
            data = b"\n".join(lines)
        elif way == 4:
            data = b"\n".join([*lines, generator.choice(lines)])
        elif way == 5:
            row = generator.randrange(len(lines))
            key, mark, _ = lines[row].partition(b"=" if b"=" in lines[row] else b":")
            lines[row] = key + mark + b" " + generator.choice(TOKENS).encode()
            data = b"\n".join(lines)
        else:
            data = data.replace(generator.choice(data.split() or [b""]), generator.choice(TOKENS).encode(), 1)
        if not data:
            break
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_settings_give_settings_or_one_line(kind: str, tmp_path: Path, rounds: Callable[[int, int], int]) -> None:
    name, original, read = KINDS[kind]
    path, good = tmp_path / name, original().encode()
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 8, 3), np.uint8))
    (tmp_path / "val.txt").write_text("row1\n")
    path.write_bytes(good)
    read(path)
    generator, seen = random.Random(f"F30 {kind}"), Counter[str]()
    for _ in range(rounds(150, 5_000)):
        data = mutated(good, generator)
        path.write_bytes(data)
        try:
            read(path)
        except SegmentationError as error:
            text = str(error)
            assert name in text or "recipe" in text, data
            assert "\n" not in text.strip(), data
            seen["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{kind}: {type(error).__name__}: {error} for {data!r}") from error
        else:
            seen["read"] += 1
    assert seen["refused"] > 10
    assert seen["read"] + seen["refused"] >= 150


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.integers(), st.floats(), st.booleans(), TEXTS, st.none(), st.dates(), st.just(10**400)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=4,
)


def test_any_overrides_give_settings_or_a_settings_error(rounds: Callable[[int, int], int]) -> None:
    @hypothesis_settings(max_examples=rounds(150, 5_000), deadline=None)
    @given(st.dictionaries(st.sampled_from(Settings.__struct_fields__) | TEXTS, VALUES, max_size=4))
    @example({"threshold": 10**400})
    def check(overrides: dict[str, Any]) -> None:
        try:
            settings = load_settings(PRESETS, None, overrides)
        except SettingsError:
            return
        assert isinstance(settings.knobs(PLAIN, settings.first_knobs()), Knobs)
        settings.decode_settings(0.1)

    check()
