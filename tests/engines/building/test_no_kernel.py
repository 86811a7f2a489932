"""Where TensorRT has no kernel in half precision for a layer, that layer is built in FP32, and the passport says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from engines.building import work
from engines.building.no_kernel import nodes_meant, with_twins
from engines.errors import BuildError, NoKernelError
from engines.models.model import Model, load_model

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine
from ..onnx_graph.precision.nets import net, weights

needs_kernels = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

BRANCHES = """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
    a = Conv(x, w) b = Relu(a) c = Conv(b, w) d = Sigmoid(b) e = Mul(c, d) f = Conv<group=4>(e, v) g = Conv<group=4>(a, v)
    h = Add(f, g) y = Relu(h) }"""


@pytest.fixture(scope="module")
def branches() -> onnx.ModelProto:
    return net(BRANCHES, w=weights(4, 4, 1, 1), v=weights(4, 1, 1, 1))


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("Conv_f", "Conv_f"),
        ("Conv_c + PWN(PWN(Sigmoid_d), Mul_e)", "Conv_c Sigmoid_d Mul_e"),
        ("{ForeignNode[Relu_b...Mul_e]}", "Relu_b Conv_c Sigmoid_d Mul_e"),
        ("{ForeignNode[Conv_c...Add_h + Relu_y]}", "Conv_c Mul_e Conv_f Add_h Relu_y"),
        ("{ForeignNode[v...Add_h]}", "Conv_f Conv_g Add_h"),  # a weight stands for the nodes that read it
        ("{ForeignNode[(Unnamed Layer* 12) [Shuffle]...Conv_f]}", "Conv_f"),
        ("(Unnamed Layer* 12) [Convolution]", ""),
        ("Conv_fg", ""),
        ("another/Conv_f", ""),
    ],
)
def test_a_label_means_these_nodes(branches: onnx.ModelProto, label: str, meant: str) -> None:
    assert nodes_meant([label], branches) == tuple(meant.split())


def test_names_with_slashes_and_dots_are_told_from_longer_ones() -> None:
    model = net("(float[1,4] x) => (float[1,4] y) { a = Relu(x) b = Relu(a) y = Relu(b) }")
    for node, name in zip(model.graph.node, ("/m.1/conv/Conv", "/m.1/conv/Conv_1", "/m.1/conv"), strict=True):
        node.name = name
    assert nodes_meant(["/m.1/conv/Conv_1."], model) == ("/m.1/conv/Conv_1",)
    assert nodes_meant(["/m.1/conv/Conv + /m.1/conv"], model) == ("/m.1/conv/Conv", "/m.1/conv")
    assert nodes_meant(["{ForeignNode[/m.1/conv/Conv.../m.1/conv]}"], model) == tuple(node.name for node in model.graph.node)


def test_twins_have_the_same_operator_attributes_and_weights(branches: onnx.ModelProto) -> None:
    assert with_twins(["Conv_f"], branches) == ("Conv_f", "Conv_g")
    assert with_twins(["Mul_e"], branches) == ("Mul_e",)
    assert with_twins(["Conv_a", "Add_h"], branches) == ("Conv_a", "Conv_c", "Add_h")


def grouped(nets, name: str = "grouped") -> Model:
    """The colours, through convolutions of which the second and the fifth are grouped; the sixth has a form of its own."""
    arrays = {f"w{layer}": (np.eye(3) * 1.3).astype(np.float32).reshape(3, 3, 1, 1) for layer in range(8)}
    arrays["w1"] = arrays["w4"] = np.full((3, 1, 1, 1), 1.3, np.float32)
    nodes, tensor = [], "image"
    for layer in range(8):
        result = "logits" if layer == 7 else f"t{layer}"
        settings: dict[str, Any] = {1: {"group": 3}, 4: {"group": 3}, 5: {"pads": [0, 0, 0, 0]}}.get(layer, {})
        nodes.append(helper.make_node("Conv", [tensor, f"w{layer}"], [result], f"conv{layer}", **settings))
        tensor = result
    shape = [1, 3, 24, 32]
    path: Path = nets.save(name, nodes, [("image", "float32", shape)], [("logits", "float32", shape)], arrays)
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    return load_model(path)


@needs_kernels
@pytest.mark.parametrize("version", ["10.3.0", "11.4.0"])
@pytest.mark.parametrize("precision", ["fp16", "int8-qdq"])
def test_the_named_node_and_its_twin_are_built_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nets, version: str, precision: str
) -> None:
    world = World(tensorrt_version=version, no_kernel={"conv1": "", "conv4": "", "conv5": ""})
    with fake_machine(tmp_path, monkeypatch, world) as machine:
        passport = machine.build(grouped(nets), precision=precision)
        assert passport.without_kernel == ("conv1", "conv4", "conv5")
        assert machine.world.calls["Builder.build_serialized_network"] == 3, "conv4 is a twin of conv1, conv5 came later"
        assert passport.parity is not None
        assert passport.parity.kept_fp32 == ()
        assert machine.world.calls["timings reused"] == 2, "what was timed before a failure is not timed again"
        assert passport.audit is not None
        assert passport.audit.heavy_share["fp32"] == pytest.approx(3 / 8, abs=0.01)


@needs_kernels
def test_a_fused_range_is_kept_whole(machine: GpuMachine, nets) -> None:
    machine.world.no_kernel = {"conv3": "{ForeignNode[conv3...conv4]}"}
    assert set(machine.build(grouped(nets)).without_kernel) >= {"conv3", "conv4"}


@needs_kernels
def test_a_node_without_any_kernel_is_named(machine: GpuMachine, nets) -> None:
    """The build in FP32 lacks it too: here because the builder calls it by a name that no node has."""
    machine.world.no_kernel = {"conv1": "(Unnamed Layer* 7) [Convolution]"}
    with pytest.raises(
        BuildError, match=r"^TensorRT 10\.13\.3 has no kernel for \(Unnamed Layer\* 7\) \[Convolution\] in its prec"
    ):
        machine.build(grouped(nets))
    assert machine.world.calls["Builder.build_serialized_network"] == 1


@needs_kernels
def test_after_a_retry_the_error_says_how_many_nodes_were_tried(machine: GpuMachine, nets) -> None:
    machine.world.no_kernel = {"conv1": "", "conv5": "(Unnamed Layer* 7) [Convolution]"}
    with pytest.raises(BuildError, match=r"in its precision, even with 2 of its nodes in FP32\. Try --precision fp32"):
        machine.build(grouped(nets))


@needs_kernels
def test_the_number_of_retries_is_bounded(machine: GpuMachine, nets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_WITHOUT_KERNEL", 1)
    machine.world.no_kernel = {"conv1": "", "conv5": ""}
    with pytest.raises(NoKernelError, match="no kernel for conv5"):
        machine.build(grouped(nets))


@needs_kernels
def test_a_network_that_loses_every_layer_is_refused(machine: GpuMachine, nets) -> None:
    machine.world.no_kernel = {f"conv{layer}": "" for layer in range(8)}
    with pytest.raises(
        BuildError, match=r"no layer with weights can run in fp16 besides the \d that TensorRT has no kernel for\. Try"
    ):
        machine.build(grouped(nets))


@needs_kernels
def test_fp32_is_not_tried_again(machine: GpuMachine, nets) -> None:
    machine.world.build_error = "Error Code 10: Internal Error (Could not find any implementation for node conv1.)"
    with pytest.raises(NoKernelError, match="no kernel for conv1 in its precision"):
        machine.build(grouped(nets), precision="fp32")
    assert machine.world.calls["Builder.build_serialized_network"] == 1


@needs_kernels
def test_a_lack_of_scratch_memory_is_in_the_cure(machine: GpuMachine, nets) -> None:
    machine.world.build_error = (
        "Error Code 10: Internal Error (Could not find any implementation for node conv5 due to insufficient workspace. See "
        "verbose log for requested sizes.)"
    )
    with pytest.raises(BuildError, match=r"conv5 due to insufficient workspace.*\. Allow more scratch memory: --workspace"):
        machine.build(grouped(nets))
    assert machine.world.calls["Builder.build_serialized_network"] == 1, "not tried again with conv5 in FP32"


@needs_kernels
@pytest.mark.parametrize(
    "error", ["Error Code 1: Cuda Runtime (out of memory)", "OutOfMemory (Requested size was 2147483648 bytes.)"]
)
def test_a_full_gpu_is_no_lack_of_kernels(machine: GpuMachine, nets, error: str) -> None:
    machine.world.build_error = f"{error}\nError Code 10: Internal Error (Could not find any implementation for node conv5.)"
    with pytest.raises(BuildError, match=r"\. Close other programs that use the GPU, or build a smaller engine: --size HxW$"):
        machine.build(grouped(nets))
    assert machine.world.calls["Builder.build_serialized_network"] == 1, "not tried again with conv5 in FP32"
