"""The cards of the bundled manifest, on stand-ins with the tensors that the models' authors document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from engines.models import zoo
from engines.models.coco import COCO_CLASSES
from engines.models.collection.add import add_downloaded
from engines.models.collection.folders import new_model
from engines.models.collection.manifest import Entry, bundled_manifest, read_manifest
from engines.segmenter import Segmenter

from ...conftest import Nets

Tensors = dict[str, Sequence[int | str]]

RVM_STATES = {"r1": 16, "r2": 20, "r3": 40, "r4": 64}

DOCUMENTED: dict[str, tuple[Tensors, Tensors]] = {
    "selfie": ({"pixel_values": ["batch", 3, 256, 256]}, {"alphas": ["batch", 1, 256, 256]}),
    "pphumanseg": ({"x": [1, 3, 192, 192]}, {"save_infer_model/scale_0.tmp_1": [1, 2, 192, 192]}),
    "modnet": ({"input": ["batch", 3, "height", "width"]}, {"output": ["batch", 1, "height", "width"]}),
    "rvm": (
        {"src": ["batch", 3, "height", "width"], "downsample_ratio": [1]}
        | {f"{name}i": ["batch", "channels", "rows", "columns"] for name in RVM_STATES},
        {"fgr": ["batch", 3, "height", "width"], "pha": ["batch", 1, "height", "width"]}
        | {f"{name}o": ["batch", count, "rows", "columns"] for name, count in RVM_STATES.items()},
    ),
    "twinlitenet": ({"images": [1, 3, 360, 640]}, {"da": [1, 2, 360, 640], "ll": [1, 2, 360, 640]}),
    "yolox-nano": ({"images": [1, 3, 416, 416]}, {"output": [1, 3549, 85]}),
    "yolox-tiny": ({"images": [1, 3, 416, 416]}, {"output": [1, 3549, 85]}),
    "yolox-s": ({"images": [1, 3, 640, 640]}, {"output": [1, 8400, 85]}),
}
"""Inputs and outputs of each model. rows, columns ... are open."""

LISTED = read_manifest(bundled_manifest()).models


def stand_in(nets: Nets, name: str, size_px: tuple[int, int]) -> Path:
    """A network with those tensors and zeros for results."""
    inputs, outputs = DOCUMENTED[name]
    opened = {"batch": 1, "height": size_px[1], "width": size_px[0], "rows": 2, "columns": 2}
    nodes, weights = [], {}
    for tensor, shape in outputs.items():
        weights[f"{tensor}/shape"] = np.array([opened[n] if isinstance(n, str) else n for n in shape], np.int64)
        nodes.append(helper.make_node("ConstantOfShape", [f"{tensor}/shape"], [tensor]))
    return nets.save(
        name,
        nodes,
        [(tensor, "float32", shape) for tensor, shape in inputs.items()],
        [(tensor, "float32", shape) for tensor, shape in outputs.items()],
        weights,
    )


def test_every_entry_is_tested_here() -> None:
    assert set(LISTED) == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_its_card_is_complete_and_fits_the_model(nets: Nets, own_folder: Path, name: str) -> None:
    entry = LISTED[name]
    facts = {"description": entry.description, **entry.card, "licence": entry.licence, "source": entry.url}
    path = stand_in(nets, name, tuple(entry.card["input"]["size_px"]))
    with new_model("theirs") as folder:
        model = add_downloaded(path, "theirs", facts, folder)
    assert model.assumed == (), "nothing is guessed"
    kept = zoo.find("theirs")
    with Segmenter(kept, "ort") as segmenter:
        seen = segmenter(np.zeros((72, 128, 3), np.uint8))
    assert len(seen.instances.scores) == 0
    assert (seen.alpha is not None) == (kept.card.family == "matting")
    assert (seen.class_map is not None) == (seen.surface is not None) == (kept.card.family == "semantic")


@pytest.mark.parametrize("entry", LISTED.values(), ids=LISTED)
def test_its_address_does_not_change(entry: Entry) -> None:
    """It names a commit or a release: what a branch has today is not what it has tomorrow."""
    assert re.search(r"/[0-9a-f]{40}/|/releases/download/", entry.url)


def test_licences_that_bind_others_are_said_first() -> None:
    assert [name for name, entry in LISTED.items() if entry.notice] == ["rvm"]
    assert all(entry.notice for entry in LISTED.values() if "GPL" in entry.licence)


def test_yolox_is_fed_as_its_authors_do() -> None:
    """BGR 0..255, at the top left on 114; COCO's 80 names. Source: yolox/data/data_augment.py, preproc."""
    for name in ("yolox-nano", "yolox-tiny", "yolox-s"):
        image = LISTED[name].card["input"]
        assert (image["channels"], image["fit"], image["pad"]) == ("bgr", "letterbox_top_left", 114)
        assert (image["mean"], image["std"]) == ([0, 0, 0], [1, 1, 1])
        assert LISTED[name].card["classes"] == "coco"
    assert len(COCO_CLASSES) == 80
