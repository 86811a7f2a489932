"""Whatever a network gives, a family answers with a sound segmentation or with InferenceError, and with nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import InferenceError
from engines.families import DecodeSettings, open_family
from engines.models.card import ModelCard, card_from_dict
from engines.models.fit import fit
from engines.types import Segmentation, Size

NET = Size(64, 64)
CLASSES = ("a", "b", "c")
FORMS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "logits": ("semantic", {"logits": (1, 3, 16, 16)}),
    "labels": ("semantic", {"labels": (1, 16, 16)}),
    "confidence": ("semantic", {"labels": (1, 16, 16), "confidence": (1, 8, 8)}),
    "matte": ("matting", {"alpha": (1, 1, 16, 16)}),
    "matte, channels last": ("matting", {"alpha_softmax": (1, 16, 16, 2)}),
    "matte, logits": ("matting", {"alpha_logits": (1, 2, 16, 16)}),
    "panoptic": ("panoptic", {"labels": (1, 16, 16), "peaks": (1, 9, 3), "offsets": (1, 2, 4, 4), "confidence": (1, 4, 4)}),
    "boxes": ("boxes", {"predictions": (1, 7, 20)}),
    "boxes, end to end": ("boxes", {"detections": (1, 30, 6)}),
    "boxes, with objectness": ("boxes", {"rows": (1, 20, 8)}),
    "queries": ("rfdetr_seg", {"boxes": (1, 9, 4), "class_logits": (1, 9, 4), "mask_logits": (1, 9, 16, 16)}),
    "rows": ("yolo_seg", {"rows": (1, 20, 12), "prototypes": (1, 4, 16, 16)}),
    "predictions": ("yolo_seg", {"predictions": (1, 11, 20), "prototypes": (1, 4, 16, 16)}),
    "detections": ("yolo_seg", {"detections": (1, 30, 10), "prototypes": (1, 4, 16, 16)}),
}
DTYPES = st.sampled_from(["float32", "float32", "float16", "uint8", "int64", "int32", "float64", "bool"])
KINDS = st.sampled_from(["zeros", "ones", "noise", "classes", "pixels", "large", "nan", "some nan", "inf"])
FRAMES = st.sampled_from([Size(640, 480), Size(1, 1), Size(3, 500), Size(500, 3), Size(64, 64), Size(1921, 1079)])


def card(family: str, roles: dict[str, Any], how: str) -> ModelCard:
    facts = {
        "name": "fuzzed",
        "family": family,
        "classes": list(CLASSES) if family != "matting" else ["background", "b"],
        "things": ["b", "c"] if family != "matting" else ["b"],
        "outputs": {role: role for role in roles},
        "input": {
            "tensor": "image",
            "size_px": [NET.width, NET.height],
            "layout": "nchw",
            "dtype": "float32",
            "channels": "rgb",
            "fit": how,
        },
    }
    return card_from_dict(facts, "card")


def filled(shape: tuple[int, ...], kind: str, dtype: str, seed: int) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    array = {
        "zeros": lambda: np.zeros(shape),
        "ones": lambda: np.ones(shape),
        "noise": lambda: rng.standard_normal(shape),
        "classes": lambda: rng.integers(0, 4, shape).astype(float),
        "pixels": lambda: rng.uniform(0, 1, shape) * rng.choice([1, 64], shape),
        "large": lambda: rng.uniform(-1, 1, shape) * 10.0 ** rng.integers(0, 38, shape),
        "nan": lambda: np.full(shape, np.nan),
        "some nan": lambda: np.where(rng.uniform(0, 1, shape) < 0.02, np.nan, rng.uniform(0, 1, shape)),
        "inf": lambda: np.where(rng.uniform(0, 1, shape) < 0.02, np.inf, rng.uniform(0, 1, shape)),
    }[kind]()
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def patched(array: npt.NDArray[Any], rows_axis: int, row: int, kind: str, seed: int) -> npt.NDArray[Any]:
    """Sane rows (boxes in pixels, scores in 0..1, class ids, noise) of which one channel holds something else."""
    rows = np.random.default_rng(seed).uniform(0, 1, array.shape)
    rows = np.moveaxis(rows, rows_axis, 0)
    rows[:4] *= 64
    if rows_axis == 2:
        rows[2:4] += rows[:2]
        rows[5] = np.floor(rows[5] * 3)
    rows[row] = filled(rows[row].shape, kind, "float64", seed)
    with np.errstate(all="ignore"):
        return np.moveaxis(rows, 0, rows_axis).astype(np.float32)


def check(segmentation: Segmentation, frame: Size) -> None:
    found = segmentation.instances
    count = len(found)
    assert count <= 254
    assert found.boxes_px.shape == (count, 4)
    assert found.scores.shape == found.class_ids.shape == (count,)
    assert np.isfinite(found.boxes_px).all()
    assert (found.boxes_px >= 0).all()
    assert (found.boxes_px <= np.array((frame.width, frame.height) * 2) + 1e-3).all()
    assert ((found.scores >= 0) & (found.scores <= 1.01)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.class_ids >= 0) & (found.class_ids < len(CLASSES))).all()
    assert found.label_map.dtype == np.uint8
    assert found.label_map.max(initial=0) <= count
    if segmentation.alpha is not None:
        assert segmentation.alpha.dtype == np.uint8
        assert segmentation.alpha.shape == found.label_map.shape
    if segmentation.class_map is not None:
        assert set(np.unique(segmentation.class_map)) <= {0, 1, 2, 255}
        assert segmentation.class_map.shape == found.label_map.shape


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=150)
@given(data=st.data(), frame=FRAMES, how=st.sampled_from(["letterbox", "letterbox_top_left", "stretch"]))
def test_any_outputs_decode_or_are_refused(form: str, data: st.DataObject, frame: Size, how: str) -> None:
    family, roles = FORMS[form]
    outputs = {}
    for role, shape in roles.items():
        changed = list(shape)
        if data.draw(st.integers(0, 5)) == 0:
            changed[data.draw(st.integers(0, len(shape) - 1))] = data.draw(st.integers(1, 20))
        outputs[role] = filled(tuple(changed), data.draw(KINDS), data.draw(DTYPES), data.draw(st.integers(0, 999)))
    if family == "yolo_seg" and data.draw(st.booleans()):
        name = next(iter(roles))
        axis = 1 if form == "predictions" else 2
        row, kind = data.draw(st.integers(0, roles[name][axis] - 1)), data.draw(KINDS)
        outputs[name] = patched(np.empty(roles[name]), axis, row, kind, data.draw(st.integers(0, 999)))
        outputs["prototypes"] = filled(roles["prototypes"], data.draw(KINDS), "float32", data.draw(st.integers(0, 999)))
    threshold = data.draw(st.sampled_from([0.0, 0.25, 0.9]))
    try:
        segmentation = open_family(card(family, roles, how)).decode(
            outputs,
            fit(frame, NET, how),
            DecodeSettings(score_threshold=threshold, map_width_px=data.draw(st.sampled_from([1, 640]))),
        )
    except InferenceError:
        return
    check(segmentation, frame)
