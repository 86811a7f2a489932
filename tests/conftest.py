"""What many tests need: the shared material, and a tiny real network with its card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from .fakes import host_kernels

REPO_ROOT = Path(__file__).parent.parent

TINY_CLASSES = ("ground", "car", "person")
TINY_LIMITS = (80.0, 170.0)
"""Mean of B, G and R: below the first ground, up to the second car, above person."""


def pytest_addoption(parser: pytest.Parser) -> None:
    help_line = "the long forms of tests/faults: every round of each fault, without a time limit (hours)"
    parser.addoption("--long", action="store_true", help=help_line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0), append=False)


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """rounds(short, long): how often a fault is injected, or for how many seconds; the second number with --long."""
    is_long = bool(request.config.getoption("--long"))
    return lambda short, long: long if is_long else short


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The read-only material beside the checkout: clips, models, data."""
    folder = REPO_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name} beside the checkout: its clips and models are not part of the project")
    return folder


@pytest.fixture(scope="session", autouse=True)
def compile_kernels_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For this process and its children; whoever needs no kernel compiles none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(host_kernels.SHARED_FOLDER, str(tmp_path_factory.mktemp("kernels")))
        yield


def write_brightness_model(folder: Path, width: int = 64, height: int = 48) -> Path:
    """A semantic network that sorts pixels by brightness: uint8 NHWC in, uint8 labels out. Writes its card beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = [numpy_helper.from_array(np.array(limit, np.float32), f"limit{i}") for i, limit in enumerate(TINY_LIMITS)]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["brightness"], axes=[3], keepdims=0),
        helper.make_node("Greater", ["brightness", "limit0"], ["above0"]),
        helper.make_node("Greater", ["brightness", "limit1"], ["above1"]),
        helper.make_node("Cast", ["above0"], ["step0"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["above1"], ["step1"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["step0", "step1"], ["steps"]),
        helper.make_node("Cast", ["steps"], ["labels"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, height, width])],
        limits,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "tiny.onnx"
    save(model, str(path))
    classes = ", ".join(f'"{name}"' for name in TINY_CLASSES)
    (folder / "tiny.toml").write_text(
        f'classes = [{classes}]\nthings = ["car", "person"]\nlicence = "MIT"\n\n[input]\nfit = "stretch"\nchannels = "bgr"\n'
        '\n[palette]\nground = "#805080"\ncar = "#0064ff"\nperson = "#dc143c"\n'
    )
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of a semantic network that sorts pixels into ground, car and person by brightness."""
    return write_brightness_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., Path]:
    """Writes that network into a folder, for tests that break it."""
    return write_brightness_model
