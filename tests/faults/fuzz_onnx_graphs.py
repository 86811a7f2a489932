"""The child of test_onnx_fuzz: damaged ONNX files, graphs and metadata are inspected for some seconds, until one ends otherwise
than in a card or in one line of an error.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.errors import SegmentationError, printable
from engines.families import open_family
from engines.models.model import load_model
from engines.onnx_graph import probing

from .fuzzing import mutated

CARD = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"
NAMES = json.dumps({str(number): f"n{number}" for number in range(12)})

STRANGE_TEXTS = (
    *(
        "",
        "\x1b[31m",
        "\u202e",
        "images",
        "out",
        "{",
        "[" * 2000,
        '{"0": "a", "0": "b"}',
        "{0: 'a', 1: 'b'}",
        "[]",
        "null",
        "NaN",
    ),
    *(
        "../../etc/passwd",
        "0",
        "-1",
        "a\nb\n\nc",
        "Loop",
        "If",
        "detect",
        "segment",
        "[1e999]",
        '{"0": {"0": 0}}',
        "\ud7ff",
        "é" * 300,
    ),
)
STRANGE_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**62, -(2**63))


def graphs() -> list[Any]:
    """Small networks of every family, with the metadata that exporters write."""
    said = {"task": "segment", "names": NAMES, "imgsz": "[64, 64]", "stride": "32"}
    detr = {"rfdetr_inference": json.dumps({"class_id_to_name": {"0": "a", "1": "b"}, "means": [0.5] * 3, "stds": [0.2] * 3})}
    rows, queries = np.zeros((1, 48, 84), np.float32), np.zeros((1, 20, 4), np.float32)
    logits, masks = np.zeros((1, 20, 3), np.float32), np.zeros((1, 20, 16, 16), np.float32)
    return [
        network({"output0": rows, "output1": np.zeros((1, 32, 16, 16), np.float32)}, said),
        network({"output0": np.zeros((1, 300, 6), np.float32)}, said | {"task": "detect"}),
        network({"dets": queries, "labels": logits, "masks": masks}, detr),
        network({"labels": np.zeros((1, 64, 64), np.int64)}, {"names": "['a', 'b']"}),
        network({"logits": np.zeros((1, 12, 64, 64), np.float32)}, {"names": NAMES}),
    ]


def network(arrays: dict[str, Any], metadata: dict[str, str]) -> Any:
    """A network whose outputs are fixed, and which has a body, a softmax and attributes of several kinds."""
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    branch = [helper.make_graph([helper.make_node("Identity", ["mean"], [name])], name, [], [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [])]) for name in ("then", "else")]  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "nought"], ["bright"]),
        helper.make_node("If", ["bright"], ["same"], then_branch=branch[0], else_branch=branch[1]),
        helper.make_node("Mul", ["same", "nought"], ["nothing"]),
    ]
    weights, outputs = [numpy_helper.from_array(np.array(0, np.float32), "nought")], []
    for name, array in arrays.items():
        kind = kinds[array.dtype.name]
        weights.append(numpy_helper.from_array(array, f"{name}_values"))
        nodes += [helper.make_node("Cast", ["nothing"], [f"{name}_nothing"], to=kind)]
        nodes += [helper.make_node("Add", [f"{name}_nothing", f"{name}_values"], [f"{name}_sum"])]
        nodes += [helper.make_node("Transpose", [f"{name}_sum"], [name], perm=list(range(array.ndim)))]
        outputs.append(helper.make_tensor_value_info(name, kind, array.shape))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [image], outputs, weights), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    helper.set_model_props(model, metadata)
    return model


def changed(model: Any, rng: np.random.Generator) -> Any:
    """A copy with one to three of its fields, wherever in the message, doubled, removed or filled with something strange."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(int(rng.integers(1, 4))):
        _change(copy, rng)
    return copy


def _change(message: Any, rng: np.random.Generator) -> None:
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = fields[int(rng.integers(len(fields)))]
        if field.is_repeated and len(value):
            place, way = int(rng.integers(len(value))), int(rng.integers(0, 8))
            if way == 0:
                del value[place]
                return
            if way == 1 and field.message_type is not None:
                value.add().CopyFrom(value[place])
                return
            if field.message_type is None:
                value[place] = _strange(value[place], rng)
                return
            message = value[place]
        elif field.message_type is not None:
            if rng.random() < 0.05:
                message.ClearField(field.name)
                return
            message = value
        else:
            setattr(message, field.name, _strange(value, rng))
            return


def _strange(value: Any, rng: np.random.Generator) -> Any:
    """Something of the same type."""
    if isinstance(value, str):
        return STRANGE_TEXTS[int(rng.integers(len(STRANGE_TEXTS)))]
    if isinstance(value, bytes):
        return mutated(value, rng)
    if isinstance(value, float):
        return float(rng.choice([0.0, -1.0, 1e38, np.inf, np.nan]))
    return STRANGE_NUMBERS[int(rng.integers(len(STRANGE_NUMBERS)))]


def main(seconds: float, seed: int) -> None:
    warnings.simplefilter("error", RuntimeWarning)  # a number that overflows unnoticed
    probing.LIMIT_S = 3.0
    rng, models = np.random.default_rng(seed), graphs()
    cards = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.with_suffix(".toml").write_text(CARD)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            model = models[int(rng.integers(len(models)))]
            number = cards + refused
            try:
                model = model if number < len(models) else changed(model, rng)
                data = model.SerializeToString()
            except (ValueError, TypeError):  # a number that the field does not hold
                continue
            path.write_bytes(mutated(data, rng) if number % 3 == 2 else data)
            try:
                open_family(load_model(path).card)
                cards += 1
            except SegmentationError as error:
                refused += 1
                if printable(str(error)) != str(error):
                    raise RuntimeError(f"an error that is not one line: {str(error)!r}") from error
            except BaseException:
                kept = Path(tempfile.gettempdir()) / f"onnx-fuzz-{seed}-{number}.onnx"
                kept.write_bytes(path.read_bytes())
                print(f"file {number}, kept as {kept}", file=sys.stderr)
                raise
    print(f"{cards} cards, {refused} refused")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
