from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import engines
from engines.errors import BackendUnavailableError, CardError, InferenceError
from engines.families import DecodeSettings
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS, Size

ZERO_TO_ONE = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"
CARD = 'classes = ["red", "green", "blue"]\nthings = ["green"]\nvoid = ["red"]\n'


def block_frame(painted: Callable[..., Any]) -> np.ndarray:
    """A blue frame (class 2 of RGB) with a green block and a red strip, 320 x 240."""
    class_map = np.zeros((240, 320), np.uint8)
    class_map[60:120, 80:180] = 1
    class_map[200:] = 2
    return painted(class_map)


@pytest.mark.parametrize("form", ["logits", "labels", "labels_nhwc", "labels_uint8"])
def test_an_image_becomes_a_segmentation(nets, painted: Callable[..., Any], cpu_backend: str, form: str) -> None:
    model = load_model(nets.semantic(form=form, card=CARD + ZERO_TO_ONE))
    with Segmenter(model, cpu_backend) as segmenter:
        segmentation = segmenter(block_frame(painted))

    assert segmentation.class_map is not None
    assert segmentation.class_map.shape == (24, 32)
    expected = np.full((24, 32), 2, np.uint8)
    expected[6:12, 8:18] = 1
    expected[20:] = VOID_CLASS
    np.testing.assert_array_equal(segmentation.class_map, expected)
    assert segmentation.instances.boxes_px.tolist() == [[80, 60, 180, 120]]
    assert segmentation.instances.class_ids.tolist() == [1]
    assert set(segmentation.stage_ms) == {"preprocess", "inference", "decode"}
    assert all(milliseconds >= 0 for milliseconds in segmentation.stage_ms.values())


def test_objects_come_with_masks_of_the_image_s_size(nets, painted: Callable[..., Any], cpu_backend: str) -> None:
    """Of a family without masks of its own, those in the label map; and with other settings than the image was read with."""
    model = load_model(nets.semantic(card=CARD + ZERO_TO_ONE))
    with Segmenter(model, cpu_backend) as segmenter:
        assert len(segmenter(block_frame(painted), DecodeSettings(score_threshold=1.01)).instances) == 0
        instances, masks = segmenter.objects(DecodeSettings())
        (mask,) = masks
    assert instances.class_ids.tolist() == [1]
    expected = np.zeros((240, 320), np.uint8)
    expected[60:120, 80:180] = 1
    np.testing.assert_array_equal(mask, expected)


def test_a_program_needs_a_name_and_an_image(nets, painted: Callable[..., Any]) -> None:
    path = nets.semantic(card=CARD + ZERO_TO_ONE)
    with engines.Segmenter.open(path, "ort", input_px=(64, 48)) as segmenter:
        segmentation = segmenter(block_frame(painted))
    assert segmenter.card.input.size == engines.Size(64, 48)
    assert [segmenter.card.class_name(class_id) for class_id in segmentation.instances.class_ids] == ["green"]
    mask = segmentation.mask(0)
    assert mask.dtype == bool
    expected = np.zeros((240, 320), bool)
    expected[60:120, 80:180] = True
    np.testing.assert_array_equal(mask, expected)
    assert segmentation.instances.mask(0).shape == (48, 64)
    with pytest.raises(IndexError, match="no object 1; there are 1"):
        segmentation.mask(1)


def test_a_wrong_option_of_a_program_is_refused(nets) -> None:
    with pytest.raises(BackendUnavailableError, match="--inflight: not with --backend ort"):
        engines.Segmenter.open(nets.semantic(), "ort", inflight=2)
    with pytest.raises(TypeError, match="inputpx"):
        engines.Segmenter.open(nets.semantic(), "ort", inputpx=(64, 48))
    with pytest.raises(ValueError, match="inflight is 9; 1 to 3"):
        engines.EngineOptions(inflight=9)


def test_public_names_are_imported_when_they_are_used(repo_root: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(repo_root)!r}); import engines\n"
        "print([name for name in ('numpy', 'cv2', 'onnx', 'msgspec') if name in sys.modules])\n"
        "print(all(getattr(engines, name) for name in engines.__all__), hasattr(engines, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True False"]


@pytest.mark.parametrize("fit", ["letterbox", "letterbox_top_left", "stretch"])
def test_a_tall_frame_comes_back_whole_whatever_the_fit(nets, painted: Callable[..., Any], cpu_backend: str, fit: str) -> None:
    class_map = np.zeros((240, 120), np.uint8)
    class_map[120:180, 30:60] = 1
    card = CARD + ZERO_TO_ONE + f'fit = "{fit}"\npad = 0\n'
    with Segmenter(load_model(nets.semantic(size=(48, 48), card=card)), cpu_backend) as segmenter:
        segmentation = segmenter(painted(class_map))
    assert segmentation.instances.class_ids.tolist() == [1]
    np.testing.assert_allclose(segmentation.instances.boxes_px, [[30, 120, 60, 180]], atol=5)
    assert segmentation.class_map is not None
    assert set(np.unique(segmentation.class_map)) == {1, 2}


@pytest.mark.parametrize("end_to_end", [False, True])
def test_a_network_with_known_objects_gives_them(
    nets, exact_yolo: Callable[..., Any], cpu_backend: str, end_to_end: bool
) -> None:
    objects = [((40.0, 60.0, 32.0, 24.0), 0.75, 1), ((100.0, 70.0, 16.0, 40.0), 0.5, 0)]
    arrays = exact_yolo(objects, 3, Size(128, 128), end_to_end)
    metadata = {"task": "segment", "names": "{0: 'cat', 1: 'dog', 2: 'owl'}"}
    model = load_model(nets.constant(arrays, size=(128, 128), metadata=metadata))
    with Segmenter(model, cpu_backend) as segmenter:
        found = segmenter(np.zeros((144, 256, 3), np.uint8), DecodeSettings(map_width_px=256)).instances
    np.testing.assert_allclose(found.boxes_px, [[48, 40, 112, 88], [184, 44, 216, 124]], atol=0.5)
    np.testing.assert_allclose(found.scores, [0.75, 0.5], atol=1e-2)
    assert [model.card.class_name(i) for i in found.class_ids] == ["dog", "cat"]
    assert np.bincount(found.label_map.ravel(), minlength=3)[1:].tolist() == [32 * 48, 16 * 80]


def test_a_batch_of_frames_of_any_size_gives_what_single_runs_give(nets, painted: Callable[..., Any]) -> None:
    model = load_model(nets.semantic(card=CARD + ZERO_TO_ONE + 'fit = "letterbox"\n'))
    rng = np.random.default_rng(3)
    images = [painted(rng.integers(0, 3, (height, width)).astype(np.uint8)) for height, width in ((48, 64), (90, 40), (24, 32))]
    settings = [DecodeSettings(score_threshold=threshold) for threshold in (0.1, 0.5, 0.9)]
    with Segmenter(model, "ort") as segmenter:
        assert segmenter.batch > len(images)
        single = [segmenter(image, one) for image, one in zip(images, settings, strict=True)]
        batch = segmenter.run_batch(images, settings)
        (alone,) = segmenter.run_batch(images[:1], settings[:1])
        with pytest.raises(ValueError, match="a batch of 0 images"):
            segmenter.run_batch([], [])
    for one, other in zip([*single, single[0]], [*batch, alone], strict=True):
        np.testing.assert_array_equal(one.class_map, other.class_map)
        np.testing.assert_array_equal(one.instances.label_map, other.instances.label_map)
        np.testing.assert_allclose(one.instances.scores, other.instances.scores, atol=1e-6)
        assert set(other.stage_ms) == {"preprocess", "inference", "decode"}


def test_a_network_of_one_image_takes_no_batches(nets, cpu_backend: str) -> None:
    with Segmenter(load_model(nets.semantic(batch=1)), cpu_backend) as segmenter:
        assert segmenter.batch == 1


def test_a_batch_that_the_network_promises_and_cannot_run_is_run_image_by_image(nets, caplog: pytest.LogCaptureFixture) -> None:
    nodes = [helper.make_node("Slice", ["image", "first", "second", "first"], ["logits"])]
    arrays = {"first": np.array([0]), "second": np.array([1])}
    shape = ["batch", 3, 24, 32]
    path = nets.save("liar", nodes, [("image", "float32", shape)], [("logits", "float32", shape)], arrays)
    path.with_suffix(".toml").write_text(CARD + ZERO_TO_ONE)
    images = [np.full((24, 32, 3), value, np.uint8) for value in (9, 200)]
    with Segmenter(load_model(path), "ort") as segmenter:
        assert segmenter.batch > 1
        assert len(segmenter.run_batch(images, [DecodeSettings()] * 2)) == 2
        assert segmenter.batch == 1
    assert "liar runs image by image" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_gives_nan_is_an_error_on_the_first_frame(
    nets, exact_yolo: Callable[..., Any], cpu_backend: str, value: float
) -> None:
    arrays = exact_yolo([((40.0, 60.0, 32.0, 24.0), 0.9, 1)], 3, Size(128, 128), False)
    arrays["output0"][:] = value
    model = load_model(nets.constant(arrays, size=(128, 128)))
    with Segmenter(model, cpu_backend) as segmenter, pytest.raises(InferenceError, match="NaN or infinite"):
        segmenter(np.zeros((144, 256, 3), np.uint8))


def test_warming_up_leaves_no_trace(nets, painted: Callable[..., Any], cpu_backend: str) -> None:
    model = load_model(nets.semantic(card=CARD + ZERO_TO_ONE))
    frame = block_frame(painted)
    with Segmenter(model, cpu_backend) as cold, Segmenter(model, cpu_backend) as warm:
        warm.warm_up(Size(1280, 720))
        warm.warm_up(Size(320, 240))
        np.testing.assert_array_equal(warm(frame).class_map, cold(frame).class_map)


def test_a_segmentation_outlives_the_next_frame_and_the_segmenter(nets, painted: Callable[..., Any], cpu_backend: str) -> None:
    model = load_model(nets.semantic(form="labels_uint8", card=CARD + ZERO_TO_ONE))
    with Segmenter(model, cpu_backend) as segmenter:
        first = segmenter(block_frame(painted))
        assert first.class_map is not None
        before = first.class_map.copy()
        segmenter(np.zeros((240, 320, 3), np.uint8))
    np.testing.assert_array_equal(first.class_map, before)


def test_leaving_the_with_closes_the_engine_also_after_an_error(nets, cpu_backend: str) -> None:
    model = load_model(nets.semantic())
    segmenter = Segmenter(model, cpu_backend)
    with pytest.raises(KeyError, match="mine"), segmenter:
        raise KeyError("mine")
    with pytest.raises((AttributeError, InferenceError)):
        segmenter(np.zeros((24, 32, 3), np.uint8))


def test_it_has_a_card_and_a_choice(nets, cpu_backend: str) -> None:
    model = load_model(nets.semantic())
    with Segmenter(model, cpu_backend) as segmenter:
        assert segmenter.card is model.card
        assert segmenter.choice.backend == cpu_backend
        assert ", CPU, " in segmenter.choice.engine.description


def test_what_cannot_be_opened_is_refused(nets) -> None:
    model = load_model(nets.semantic())
    with pytest.raises(BackendUnavailableError, match='unknown backend "cuda"'):
        Segmenter(model, "cuda")
    card = 'family = "smantic"\noutputs = {logits = "logits"}\nclasses = ["a", "b", "c"]\n' + ZERO_TO_ONE
    with pytest.raises(CardError, match=r'unknown family "smantic".*Did you mean "semantic"'):
        Segmenter(load_model(nets.semantic("other", card=card)))
