"""TensorRT is found, or reported as missing with a cure for the machine."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from engines.errors import BackendUnavailableError
from engines.trt import runtime
from engines.trt.runtime import Messages, how_to_install, installed, open_tensorrt


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, version: str | None) -> None:
    module: Any = types.ModuleType(name)
    if version is not None:
        module.__version__ = version
    module.ILogger = type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3})
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(runtime, "_opened", {})  # the real one keeps its logger, of which it takes one only


def test_a_missing_tensorrt_is_reported_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailableError, match=r"not installed for this Python\. Run: pip install tensorrt-cu13"):
        open_tensorrt("tensorrt")


def test_the_cure_on_a_jetson_is_not_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nv_tegra_release").write_text("# R36 (release), REVISION: 4.0")
    monkeypatch.setattr(runtime, "TEGRA_RELEASE", tmp_path / "nv_tegra_release")
    text = how_to_install("tensorrt")
    assert "sudo apt install python3-libnvinfer" in text
    assert "--system-site-packages" in text
    assert "pip install" not in text


def test_rtx_has_its_own_package() -> None:
    assert "pip install tensorrt-rtx" in how_to_install("tensorrt-rtx")


@pytest.mark.parametrize(
    ("name", "version", "is_fine"),
    [
        *(("tensorrt", version, is_fine) for version, is_fine in (("10.2.0", False), ("8.6.1", False), ("10.3.0", True))),
        *(("tensorrt", "11.4.0.106", True), ("tensorrt-rtx", "1.1.1.26", False), ("tensorrt-rtx", "1.2.0.44", True)),
    ],
)
def test_the_oldest_versions_that_work(monkeypatch: pytest.MonkeyPatch, name: str, version: str, is_fine: bool) -> None:
    """TensorRT-RTX before 1.2 lacks what a CUDA graph needs."""
    pretend(monkeypatch, runtime.MODULES[name], version)
    title, oldest = {"tensorrt": ("TensorRT", "10.3"), "tensorrt-rtx": ("TensorRT-RTX", "1.2")}[name]
    if is_fine:
        assert open_tensorrt(name).title == f"{title} {version}"
    else:
        with pytest.raises(BackendUnavailableError, match=f"^{title} {version} is too old: {oldest} or newer is required"):
            open_tensorrt(name)


def test_a_jetson_with_an_old_tensorrt_is_told_which_jetpack_has_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not to install the package that it has: 8.6 is JetPack 6.0's."""
    monkeypatch.setattr(runtime, "TEGRA_RELEASE", tmp_path)
    pretend(monkeypatch, "tensorrt", "8.6.2")
    with pytest.raises(BackendUnavailableError) as caught:
        open_tensorrt("tensorrt")
    assert caught.value.cure == "Update the board to JetPack 6.1 or newer"


def test_bindings_without_their_libraries_are_not_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError("libnvinfer.so.10: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(BackendUnavailableError, match=r"is installed but cannot be loaded \(libnvinfer.so.10: cannot open"):
        open_tensorrt("tensorrt")


def test_an_empty_package_of_that_name_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's stub packages leave one behind."""
    pretend(monkeypatch, "tensorrt", None)
    with pytest.raises(BackendUnavailableError, match="installed but cannot be loaded"):
        open_tensorrt("tensorrt")


def test_installed_packages_are_found_without_importing_them() -> None:
    pytest.importorskip("tensorrt_rtx")
    assert "tensorrt-rtx" in installed()


@pytest.mark.parametrize(
    ("logged", "reason"),
    [
        ("[runtime.cpp::f::90] Error Code 1: Serialization (Version tag)", "Error Code 1: Serialization (Version tag)"),
        ("IBuilder::build: Error Code 9: Out (In g at /_src/b.cpp:2 (cudaError 2))", "Error Code 9: Out ((cudaError 2))"),
        ("plain words", "plain words"),
    ],
)
def test_the_first_error_is_the_reason_without_its_position(logged: str, reason: str) -> None:
    messages = Messages()
    messages.add(logged)
    messages.add("a later error")
    assert messages.reason() == reason
    messages.clear()
    assert messages.reason() == "TensorRT gives no reason"


FOREIGN = "{ForeignNode[(Unnamed Layer* 1247) [Shuffle].../layers.7/Transpose_2 + /layers.7/Reshape_4]}"
FUSED = "/model.0/conv/Conv + PWN(PWN(/model.0/act/Sigmoid), /model.0/act/Mul)"


@pytest.mark.parametrize(
    ("logged", "layer"),
    [
        (
            "No low-precision conv kernel available for this strongly-typed Conv/ConvTranspose. Consider keeping it in FP32 "
            "(e.g. with op_block_list=['Conv','ConvTranspose']). Failing node: node_223_Conv",
            "node_223_Conv",
        ),
        (
            "IBuilder::buildSerializedNetworkToStream: Error Code 10: Internal Error (Could not find any implementation for node "
            "node_223_Conv. In computeCosts at /_src/optimizer/common/tactic/optimizer.cpp:4211)",
            "node_223_Conv",
        ),
        (
            "[optimizer.cpp::computeCosts::3869] Error Code 10: Internal Error (Could not find any implementation for node "
            f"{FOREIGN}.)",
            FOREIGN,
        ),
        (f"Could not find any implementation for node {FOREIGN}.", FOREIGN),
        (f"Error Code 10: Internal Error (Could not find any implementation for node {FUSED}.)", FUSED),
        ("Could not find any implementation for node conv due to insufficient workspace. See verbose log", "conv"),
        ("IBuilder: Error Code 10: Internal Error (Could not find any implementation for node conv)", "conv"),
    ],
)
def test_layers_without_a_kernel_are_found_in_every_versions_words(logged: str, layer: str) -> None:
    messages = Messages()
    messages.add("Error Code 2: Internal Error (Assertion engine != nullptr failed. )")
    messages.add(logged)
    messages.add(logged)
    assert messages.without_kernel() == (layer,)
    messages.clear()
    assert messages.without_kernel() == ()


def test_a_lack_of_scratch_memory_is_read_from_warnings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tensorrt", "11.4.0")
    tensorrt = open_tensorrt("tensorrt")
    tensorrt.logger.log(2, "Skipping tactic 0 due to insufficient memory on requested size of 1170309120 detected for tactic 0.")
    assert tensorrt.messages.lacks_workspace
    assert tensorrt.messages.reason() == "TensorRT gives no reason"
    tensorrt.messages.clear()
    assert not tensorrt.messages.lacks_workspace


def test_only_errors_are_reasons(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pretend(monkeypatch, "tensorrt", "11.4.0")
    tensorrt = open_tensorrt("tensorrt")
    with caplog.at_level("DEBUG", "engines.trt.runtime"):
        for severity, text in ((2, "a warning"), (1, "an error")):
            tensorrt.logger.log(severity, text)
    assert tensorrt.messages.reason() == "an error"
    assert caplog.messages == ["a warning", "an error"]


def test_a_long_reason_is_cut() -> None:
    messages = Messages()
    messages.add("x" * 1000)
    assert len(messages.reason()) == 240


def test_several_lines_become_one() -> None:
    messages = Messages()
    messages.add("first\n  second")
    assert messages.reason() == "first second"
