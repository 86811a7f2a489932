"""Behind the foreground: a blur without a halo, a colour, a picture; the foreground itself is unchanged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation, Size
from realtime.knobs import Knobs
from realtime.render import Background, Blur, Look, Picture, Plain, compose
from realtime.types import Frame, Result

INPUT = InputSpec("image", (96, 64), "nhwc", "uint8", "rgb", "stretch")
PEOPLE = ModelCard("people", "matting", INPUT, {"alpha": "pha"}, ("person",), things=("person",))
REPLACED = Knobs(masks=False, boxes=False, labels=False, trails=False, background=True)


def scene(width: int = 640, height: int = 360) -> tuple[np.ndarray, np.ndarray]:
    """A red person in front of black and white stripes, and its matte."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, (np.arange(width) // 8) % 2 == 0] = 255
    image[60:, 240:400] = (20, 20, 230)
    alpha = np.zeros((height // 4, width // 4), np.uint8)
    alpha[15:, 60:100] = 255
    return image, alpha


def drawn(background: Background, knobs: Knobs = REPLACED, alpha: np.ndarray | None = None, width_px: int = 1280) -> np.ndarray:
    image, matte = scene()
    matte = matte if alpha is None else alpha
    segmentation = Segmentation(Instances.none(Size.of(matte)), alpha=matte)
    return compose(Result(Frame(image, 0, 0.0, 0), segmentation, None), knobs, Look(PEOPLE, width_px, background)).image


INSIDE = (slice(90, 360), slice(260, 380))
FAR = (slice(0, 360), slice(0, 200))


@pytest.mark.parametrize("background", [Blur(), Plain((0, 177, 64)), Picture(np.full((30, 30, 3), 9, np.uint8))])
def test_the_foreground_is_unchanged(background: Background) -> None:
    image, _ = scene()
    assert np.array_equal(drawn(background)[INSIDE], image[INSIDE])


def test_a_plain_background_has_its_colour() -> None:
    assert (drawn(Plain((0, 177, 64)))[FAR] == (0, 177, 64)).all()


def test_a_blur_leaves_no_stripes_and_no_halo() -> None:
    blurred = drawn(Blur())
    room = blurred[40:320, 40:200].astype(float)
    assert room.std() < 12, "stripes of 8 pixels are gone"
    assert abs(room.mean() - 127) < 10
    beside = blurred[150:320, 210:232].astype(int)
    assert (np.abs(beside[..., 2] - beside[..., 0]) < 25).all(), "no red of the person in the grey beside it"


def test_a_picture_fills_the_canvas_with_its_aspect_kept() -> None:
    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:, 100:300] = (0, 255, 0)  # as much as a canvas of 16:9 shows, and more
    canvas = drawn(Picture(picture))
    assert (canvas[FAR] == (0, 255, 0)).all()
    tall = np.zeros((400, 100, 3), np.uint8)
    tall[150:250] = (0, 255, 0)
    assert (drawn(Picture(tall))[FAR] == (0, 255, 0)).all()


def test_the_canvas_can_change_its_size() -> None:
    background = Picture(np.full((50, 70, 3), 33, np.uint8))
    for width_px in (640, 320, 640):
        canvas = drawn(background, width_px=width_px)
        assert canvas.shape[1] == width_px
        assert (canvas[:40, : width_px // 4] == 33).all()


def test_without_a_foreground_all_is_background() -> None:
    empty = np.zeros((90, 160), np.uint8)
    assert (drawn(Plain((1, 2, 3)), alpha=empty) == (1, 2, 3)).all()


def test_the_knob_turns_it_off_and_masks_are_drawn_over_it() -> None:
    image, _ = scene()
    assert np.array_equal(drawn(Plain((0, 177, 64)), Knobs(masks=False, boxes=False, labels=False)), image)
    both = drawn(Plain((0, 177, 64)), Knobs(boxes=False, labels=False, background=True, opacity=0.5))
    assert (both[FAR] == (0, 177, 64)).all()
    tint = 0.5 * np.array((20, 20, 230)) + 0.5 * Look(PEOPLE).class_bgr[0].astype(float)
    assert np.abs(both[200, 320] - tint).max() <= 2


def test_a_model_without_a_matte_keeps_its_background() -> None:
    image, _ = scene()
    result = Result(Frame(image, 0, 0.0, 0), Segmentation(Instances.none(Size(64, 36))), None)
    areas = ModelCard("areas", "semantic", INPUT, {"logits": "logits"}, ("person",))
    assert np.array_equal(compose(result, REPLACED, Look(areas)).image, image)


def test_soft_edges_mix_foreground_and_background() -> None:
    alpha = np.full((90, 160), 128, np.uint8)
    canvas = drawn(Plain((0, 200, 0)), alpha=cv2.GaussianBlur(alpha, (3, 3), 0)).astype(float)
    image, _ = scene()
    expected = 0.5 * image + 0.5 * np.array((0, 200, 0))
    assert np.abs(canvas - expected).max() <= 3
