"""What a file tells of itself; the rest of it is tested where it is used, in test_model.py."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engines.errors import CardError
from engines.models.exporting import fuse_outputs
from engines.models.guess import guess
from engines.models.model import Model, load_model
from engines.onnx_graph.reading import NetworkFacts, TensorFacts
from engines.segmenter import Segmenter
from engines.types import Size

from ..conftest import ZERO_TO_ONE

IMAGE = TensorFacts("images", "float32", (1, 3, 64, 64))


def guessed(
    *outputs: TensorFacts, metadata: dict[str, str] | None = None, written: dict[str, Any] | None = None
) -> dict[str, Any]:
    return guess(NetworkFacts((IMAGE,), outputs, metadata or {}), Path("nowhere/net.onnx"), written or {})


def test_fused_outputs_are_known_by_their_names() -> None:
    labels, mean = TensorFacts("labels", "uint8", (1, 64, 64)), TensorFacts("logit_mean", "float32", (1,))
    confidence = TensorFacts("confidence", "uint8", (1, 64, 64))
    for outputs in ((labels, mean), (labels, confidence), (labels, confidence, mean)):
        facts = guessed(*outputs)
        assert facts["family"] == "semantic"
        assert facts["outputs"] == {tensor.name: tensor.name for tensor in outputs}
        assert "classes" not in facts, "labels don't tell how many"
    candidates, prototypes = TensorFacts("candidates", "float16", (1, 300, 42)), TensorFacts("p", "float16", (1, 32, 16, 16))
    facts = guessed(candidates, prototypes, metadata={"names": "{0: 'cat', 1: 'dog'}", "task": "segment"})
    assert facts["family"] == "yolo_seg"
    assert facts["outputs"] == {"candidates": "candidates", "prototypes": "p"}
    assert facts["classes"] == facts["things"] == ["cat", "dog"]
    assert facts["input"]["fit"] == "letterbox"


def test_a_fused_file_without_its_card_needs_no_more_than_the_source_did(nets, exact_yolo, cpu_backend: str) -> None:
    objects = [((40.0, 30.0, 30.0, 20.0), 0.9, 1)]
    metadata = {"names": "{0: 'cat', 1: 'dog', 2: 'owl'}", "task": "segment"}
    source = load_model(nets.constant(exact_yolo(objects, 3, Size(64, 64), False), metadata=metadata))
    network, card = fuse_outputs(onnx.load(source.path), source.card)
    path = nets.folder / "fused.onnx"
    onnx.save(network, str(path))
    model = load_model(path)
    assert model.card.outputs == card.outputs
    assert msgspec.structs.replace(model.card, name=card.name, file=card.file) == card
    image = np.full((64, 64, 3), 7, np.uint8)
    for candidate in (source, Model(card, path), model):
        with Segmenter(candidate, cpu_backend) as segmenter:
            assert segmenter(image).instances.class_ids.tolist() == [1]


@pytest.mark.parametrize(
    "outputs",
    [
        [TensorFacts("candidates", "float32", (1, 5))],
        [TensorFacts("candidates", "float32", (5,))],
        [TensorFacts("candidates", "float32", (1, 300, 10))],
        [TensorFacts("candidates", "float32", (1, 300, 10)), TensorFacts("p", "float32", (1, None, 16, 16))],
        [TensorFacts("candidates", "float32", (1, 300, 41)), TensorFacts("p", "float32", (1, 32, 16, 16))],
        [TensorFacts("candidates", "float32", (1, 42)), *(TensorFacts(n, "float32", (1, 32, 16, 16)) for n in "pq")],
        [TensorFacts("labels", "uint8", (1, 64, 64)), TensorFacts("depth", "uint8", (1, 64, 64))],
    ],
    ids=lambda outputs: " ".join(map(str, outputs)),
)
def test_outputs_that_only_share_a_name_with_fused_ones_are_refused(outputs: list[TensorFacts]) -> None:
    """One without any prototypes ended in an IndexError."""
    with pytest.raises(CardError, match="unsupported outputs"):
        guessed(*outputs)


names = st.sampled_from(["candidates", "labels", "logit_mean", "confidence", "output0", "p", "peaks", "offsets", "dets", "masks"])
dtypes = st.sampled_from(["float32", "float16", "int64", "uint8", "unknown"])
shapes = st.lists(st.none() | st.sampled_from([0, 1, 2, 3, 32, 42, 64, 116, 8400]), max_size=5).map(tuple)
tensors = st.lists(st.builds(TensorFacts, names, dtypes, shapes), max_size=4, unique_by=lambda tensor: tensor.name)
metadata = st.dictionaries(
    st.sampled_from(["names", "imgsz", "task", "license", "rfdetr_inference", "stride"]),
    st.text(max_size=20) | st.sampled_from(["detect", "segment"]),
)


@settings(deadline=None, max_examples=200)
@given(tensors | st.just([IMAGE]), tensors, metadata)
@example([IMAGE], [TensorFacts("candidates", "float32", (1, 5))], {})
@example([IMAGE], [TensorFacts("labels", "uint8", (64, 64))], {"imgsz": "[0]", "names": "{0: 'a'}"})
def test_any_file_gives_a_guess_or_an_error_of_one_line(
    inputs: list[TensorFacts], outputs: list[TensorFacts], embedded: dict[str, str]
) -> None:
    facts = NetworkFacts(tuple(inputs), tuple(outputs), embedded)
    with suppress(CardError):
        found = guess(facts, Path("nowhere/net.onnx"), {})
        assert set(found["outputs"].values()) <= {tensor.name for tensor in outputs}
        assert found["family"] in ("semantic", "yolo_seg", "boxes", "panoptic", "rfdetr_seg", "matting")


NAMES = {"names": "{0: 'cat', 1: 'dog'}"}
ANCHORS_64 = 3 * (8 * 8 + 4 * 4 + 2 * 2)


@pytest.mark.parametrize(
    ("rows", "metadata", "role"),
    [
        ((1, ANCHORS_64, 39), NAMES, "rows"),  # YOLOv5: 5 + 2 classes + 32
        ((1, ANCHORS_64 + 3, 39), NAMES | {"imgsz": "[64, 64]"}, "rows"),  # a fourth grid, of stride 64
        ((1, ANCHORS_64, 38), {"names": "['cat']", "stride": "32"}, "rows"),  # of one class, as wide as YOLO26's
        ((1, None, 39), NAMES | {"stride": "32"}, "rows"),
        ((1, 300, 38), NAMES | {"task": "segment"}, "detections"),  # YOLO26, end to end
        ((1, None, 38), NAMES | {"task": "segment", "stride": "32"}, "detections"),
        ((1, 38, 84), NAMES | {"task": "segment"}, "predictions"),  # YOLOv8 and 11: 4 + 2 classes + 32
        ((1, 38, None), NAMES | {"task": "segment"}, "predictions"),
    ],
    ids=str,
)
def test_every_yolo_is_known_by_the_shape_of_its_rows(rows: tuple[int | None, ...], metadata: dict[str, str], role: str) -> None:
    prototypes = TensorFacts("output1", "float32", (1, 32, 16, 16))
    for outputs in ((TensorFacts("output0", "float32", rows), prototypes), (prototypes, TensorFacts("output0", "float32", rows))):
        facts = guessed(*outputs, metadata=metadata)
        assert (facts["family"], facts["outputs"]) == ("yolo_seg", {role: "output0", "prototypes": "output1"})
        assert facts["things"] == facts["classes"]
        assert (facts["input"]["fit"], facts["input"]["std"]) == ("letterbox", [255, 255, 255])


def test_a_yolov5_detector_is_known_by_its_anchors() -> None:
    facts = guessed(TensorFacts("output0", "float32", (1, ANCHORS_64, 7)), metadata=NAMES | {"stride": "32"})
    assert (facts["family"], facts["outputs"], facts["things"]) == ("boxes", {"rows": "output0"}, ["cat", "dog"])
    assert facts["input"]["fit"] == "letterbox"


@pytest.mark.parametrize("order", [1, -1], ids=["rows first", "prototypes first"])
@pytest.mark.parametrize("form", ["predictions", "rows", "detections"])
def test_a_yolo_is_read_by_its_outputs_names_wherever_they_stand(
    nets, exact_yolo, cpu_backend: str, form: str, order: int
) -> None:
    arrays = exact_yolo([((40.0, 30.0, 30.0, 20.0), 0.9, 1)], 3, Size(64, 64), form == "detections")
    if form == "rows":
        columns = np.zeros((4 + 3 + 2, ANCHORS_64), np.float32)
        columns[:, : arrays["output0"].shape[2]] = arrays["output0"][0]
        arrays["output0"] = np.insert(columns, 4, 1, axis=0).T[None].copy()
    path = nets.constant(dict(list(arrays.items())[::order]), metadata={"names": "['cat', 'dog', 'owl']", "stride": "32"})
    model = load_model(path)
    assert model.card.outputs == {form: "output0", "prototypes": "output1"}
    with Segmenter(model, cpu_backend) as segmenter:
        found = segmenter(np.full((64, 64, 3), 7, np.uint8)).instances
    assert found.class_ids.tolist() == [1]
    np.testing.assert_allclose(found.boxes_px, [[25, 20, 55, 40]], atol=1e-4)
    assert found.label_map.any()


@pytest.mark.parametrize(
    "names", [("labels", "peaks", "offsets"), ("alpha", "peaks", "offsets"), ("labels", "peaks", "offsets", "surface")]
)
def test_panoptic_outputs_are_known_by_their_names(names: tuple[str, ...]) -> None:
    facts = guessed(*(TensorFacts(name, "uint8", (1, 64, 64)) for name in names))
    assert (facts["family"], facts["outputs"]) == ("panoptic", {name: name for name in names})
    assert facts.get("classes") == (["foreground"] if "alpha" in names else None), "labels don't tell how many"


def test_what_the_card_writes_is_not_guessed() -> None:
    written = {"family": "semantic", "outputs": {"logits": "strange"}}
    assert guessed(TensorFacts("strange", "float32", (1, 7)), written=written)["outputs"] == {}


def test_labels_of_a_known_number_are_numbered(nets) -> None:
    """By the channels of the ArgMax that made them."""
    model = load_model(nets.semantic(form="labels", card=ZERO_TO_ONE))
    assert model.card.classes == ("class 0", "class 1", "class 2")
    assert model.lacks_names
    path = nets.semantic(form="labels", card='classes = ["a", "b"]\n' + ZERO_TO_ONE)
    with pytest.raises(CardError, match="the network has 3 classes but 2 names are given"):
        load_model(path)
