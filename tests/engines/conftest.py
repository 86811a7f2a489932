"""Tiny real networks, made on the fly, whose answer is known for every pixel; and a machine with a fake GPU to run them on."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.types import Size

from .gpu_machine import GpuMachine, fake_machine

OPSET = 17
CPU_BACKENDS = ("openvino", "ort") if platform.machine() in ("x86_64", "AMD64") else ("ort",)
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
ZERO_TO_ONE = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"

BGR = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)
"""Blue, green, red: to a network that takes BGR, the classes 0, 1, 2; to one that takes RGB, 2, 1, 0."""


class Nets:
    """Writes ONNX files into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        name: str,
        nodes: Sequence[Any],
        inputs: Sequence[tuple[str, str, Sequence[Any]]],
        outputs: Sequence[tuple[str, str, Sequence[Any] | None]],
        weights: dict[str, npt.NDArray[Any]] | None = None,
        metadata: dict[str, str] | None = None,
        external_data: bool = False,
    ) -> Path:
        """inputs, outputs: (name, dtype, shape); a shape of None leaves the rank open."""
        graph = helper.make_graph(
            list(nodes),
            name,
            [helper.make_tensor_value_info(tensor, TYPES[dtype], shape) for tensor, dtype, shape in inputs],
            [helper.make_tensor_value_info(tensor, TYPES[dtype], shape) for tensor, dtype, shape in outputs],
            [numpy_helper.from_array(array, key) for key, array in (weights or {}).items()],
        )
        domains = {node.domain for node in nodes} | {""}
        opsets = [helper.make_opsetid(domain, OPSET if domain == "" else 1) for domain in sorted(domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        for key, value in (metadata or {}).items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        path = self.folder / f"{name}.onnx"
        if external_data:
            onnx.save(model, str(path), save_as_external_data=True, location=f"{name}.onnx.data", size_threshold=0)
        else:
            onnx.save(model, str(path))
        return path

    def semantic(
        self,
        name: str = "colours",
        size: tuple[int | str, int | str] = (32, 24),
        layout: str = "nchw",
        dtype: str = "float32",
        form: str = "logits",
        batch: int | str = "batch",
        channels: int | str = 3,
        weights: npt.NDArray[Any] | None = None,
        card: str | None = ZERO_TO_ONE,
        **saved: Any,
    ) -> Path:
        """Class c where the network's colour channel c is the strongest: logits are 10 x the channel in 0..1.

        form: "logits", "labels" (1, H, W) int64, "labels_nhwc" (1, H, W, 1) int64, "labels_uint8".
        """
        width, height = size
        weights = np.eye(3) * 10 if weights is None else weights
        real = "float16" if dtype == "float16" else "float32"
        nodes, tensor = [], "image"
        if dtype == "uint8":
            nodes += [helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT)]
            nodes += [helper.make_node("Div", ["pixels", "full"], ["unit"])]
            tensor = "unit"
        if layout == "nhwc":
            nodes += [helper.make_node("Transpose", [tensor], ["planes"], perm=[0, 3, 1, 2])]
            tensor = "planes"
        nodes += [helper.make_node("Conv", [tensor, "weights"], ["logits"])]
        arrays = {"weights": weights.astype(real).reshape(len(weights), 3, 1, 1)}
        if dtype == "uint8":
            arrays["full"] = np.array(255, np.float32)
        output = ("logits", real, [batch, "classes", "rows", "columns"])
        if form != "logits":
            keep = int(form == "labels_nhwc")
            if keep:
                nodes += [helper.make_node("Transpose", ["logits"], ["last"], perm=[0, 2, 3, 1])]
            tensor, axis = ("last", 3) if keep else ("logits", 1)
            result = "index" if form == "labels_uint8" else "labels"
            nodes += [helper.make_node("ArgMax", [tensor], [result], axis=axis, keepdims=keep)]
            output = ("labels", "int64", [batch, "rows", "columns", *[1] * keep])
            if form == "labels_uint8":
                nodes += [helper.make_node("Cast", ["index"], ["labels"], to=TensorProto.UINT8)]
                output = ("labels", "uint8", [batch, "rows", "columns"])
        shape = [batch, channels, height, width] if layout == "nchw" else [batch, height, width, channels]
        if card is not None:
            (self.folder / f"{name}.toml").write_text(card)
        return self.save(name, nodes, [("image", dtype, shape)], [output], arrays, **saved)

    def constant(
        self,
        arrays: dict[str, npt.NDArray[Any]],
        name: str = "constant",
        size: tuple[int | str, int | str] = (64, 64),
        shapes: dict[str, Sequence[Any]] | None = None,
        **saved: Any,
    ) -> Path:
        """A network that gives `arrays`, by output name, whatever it sees. shapes: those declared, where not the true ones."""
        width, height = size
        nodes = [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "nought"], ["nothing"]),
        ]
        weights: dict[str, npt.NDArray[Any]] = {"nought": np.array(0, np.float32)}
        outputs = []
        for key, given in arrays.items():
            array = np.nan_to_num(given, nan=0, posinf=1, neginf=-1) if given.dtype.kind == "f" else given
            dtype = array.dtype.name
            if not np.array_equal(array, given):  # computed, as a file with such weights is refused: 0 / 0, 1 / 0
                weights[f"{key}_parts"] = np.isfinite(given).astype(given.dtype)
                weights[f"{key}_sound"] = array
                nodes += [helper.make_node("Div", [f"{key}_sound", f"{key}_parts"], [f"{key}_values"])]
            else:
                weights[f"{key}_values"] = array
            if dtype == "float32":
                nodes += [helper.make_node("Add", ["nothing", f"{key}_values"], [key])]
            else:
                nodes += [helper.make_node("Cast", ["nothing"], [f"{key}_nothing"], to=TYPES[dtype])]
                nodes += [helper.make_node("Add", [f"{key}_nothing", f"{key}_values"], [key])]
            outputs += [(key, dtype, (shapes or {}).get(key, array.shape))]
        return self.save(name, nodes, [("images", "float32", [1, 3, height, width])], outputs, weights, **saved)


@pytest.fixture(scope="session")
def cpu_backends() -> tuple[str, ...]:
    """Those that are installed with the project, and so must open: OpenVINO has no wheels but for x86-64."""
    return CPU_BACKENDS


@pytest.fixture(scope="session", params=CPU_BACKENDS)
def cpu_backend(request: pytest.FixtureRequest) -> str:
    """Each of them in turn."""
    return str(request.param)


@pytest.fixture
def nets(tmp_path: Path) -> Nets:
    return Nets(tmp_path)


@pytest.fixture(scope="session")
def session_nets(tmp_path_factory: pytest.TempPathFactory) -> Nets:
    return Nets(tmp_path_factory.mktemp("nets"))


@pytest.fixture(scope="session")
def painted() -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]:
    """Turns a map of the classes 0, 1, 2 into a frame in pure blue, green and red."""
    return lambda class_map: np.ascontiguousarray(BGR[class_map])


def yolo_parts(boxes: Sequence[tuple[float, float, float, float]], net: Size) -> tuple[np.ndarray, np.ndarray]:
    """Prototypes and coefficients for objects whose mask is the left half of their box.

    boxes: centre x, centre y, width, height in network pixels. Prototypes (1, 2, h, w): how far right a cell lies, and one.
    Coefficients (N, 2) make that "left of the centre".
    """
    height, width = net.height // 4, net.width // 4
    columns = (np.arange(width, dtype=np.float32) + 0.5) * 4
    prototypes = np.stack((np.tile(columns, (height, 1)), np.ones((height, width), np.float32)))[None]
    coefficients = np.array([(-1, x) for x, _, _, _ in boxes], np.float32).reshape(-1, 2)
    return prototypes.astype(np.float32), coefficients


@pytest.fixture(scope="session")
def exact_yolo() -> Callable[..., dict[str, npt.NDArray[np.float32]]]:
    """Makes YOLO outputs that hold exactly the given objects."""

    def make(
        objects: Sequence[tuple[tuple[float, float, float, float], float, int]], class_count: int, net: Size, end_to_end: bool
    ) -> dict[str, npt.NDArray[np.float32]]:
        boxes = [box for box, _, _ in objects]
        prototypes, coefficients = yolo_parts(boxes, net)
        if end_to_end:
            rows = np.zeros((1, 300, 6 + 2), np.float32)
            for row, ((x, y, w, h), score, class_id) in enumerate(objects):
                rows[0, row] = (x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, class_id, *coefficients[row])
            return {"output0": rows, "output1": prototypes}
        columns = np.zeros((1, 4 + class_count + 2, 84), np.float32)
        for row, (box, score, class_id) in enumerate(objects):
            column = 7 * row + 3
            columns[0, :4, column] = box
            columns[0, 4 + class_id, column] = score
            columns[0, -2:, column] = coefficients[row]
        return {"output0": columns, "output1": prototypes}

    return make


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuMachine]:
    with fake_machine(tmp_path, monkeypatch) as machine:
        yield machine
