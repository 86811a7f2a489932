"""The inspector's report decides which precision an engine has, whichever version wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engines.trt.audit import audit, read_layers, shortfall

OLD_STYLE = {
    "fp16": "Channel major FP16 format where channel % 8 == 0",
    "fp32": "Row major linear FP32",
    "int8": "Four wide channel INT8",
}
NEW_STYLE = {"fp16": "Half", "fp32": "Float", "bf16": "BFloat16", "int8": "Int8"}


def layer(kind: str, precision: str, name: str = "", style: dict[str, str] = NEW_STYLE, **more: Any) -> dict[str, Any]:
    tensor = {"Name": "x", "Location": "Device", "Dimensions": [1, 8, 4, 4], "Format/Datatype": style[precision]}
    return {"Name": name or f"{kind}_{precision}", "LayerType": kind, "Inputs": [tensor], "Outputs": [tensor], **more}


def report(*layers: Any, bindings: str = "I/O Tensors") -> str:
    return json.dumps({"Layers": list(layers), bindings: ["image", "labels"]})


@pytest.mark.parametrize("style", [OLD_STYLE, NEW_STYLE], ids=["10.3", "11.4"])
@pytest.mark.parametrize("bindings", ["Bindings", "I/O Tensors"])
def test_precisions_are_read_in_the_format_of_every_version(style: dict[str, str], bindings: str) -> None:
    names = ("fp16", "fp32", "int8")
    layers = read_layers(report(*(layer("CaskConvolution", name, style=style) for name in names), bindings=bindings))
    assert [each.precision for each in layers] == list(names)


def test_the_type_of_weights_decides_before_that_of_tensors() -> None:
    """A convolution that reads FP16 and multiplies FP32 weights is an FP32 convolution."""
    (found,) = read_layers(report(layer("CaskConvolution", "fp16", Weights={"Type": "Float", "Count": 100})))
    assert found.precision == "fp32"


def test_layers_that_only_move_data_are_not_counted() -> None:
    kinds = ("Reformat", "Shuffle", "Constant", "NoOp", "Slice", "Concat", "Cast", "CopyShuffle")
    assert read_layers(report(*(layer(kind, "fp32") for kind in kinds))) == []


def test_uint8_and_integers_are_not_a_precision() -> None:
    tensor = {"Name": "image", "Format/Datatype": "UInt8"}
    index = {"Name": "labels", "Format/Datatype": "Row major linear INT32"}
    assert read_layers(report({"Name": "argmax", "LayerType": "TopK", "Inputs": [tensor], "Outputs": [index]})) == []


def test_an_fp16_engine_passes_as_fp16() -> None:
    layers = read_layers(report(*[layer("CaskConvolution", "fp16", f"conv{i}") for i in range(20)], layer("SoftMax", "fp32")))
    assert shortfall(layers, "fp16") == ""
    shares = audit(layers, {f"conv{i}": 0.1 for i in range(20)} | {"SoftMax_fp32": 2.0, "reformat": 5.0})
    assert shares is not None
    assert shares.layer_share == {"fp16": pytest.approx(20 / 21, abs=1e-4), "fp32": pytest.approx(1 / 21, abs=1e-4)}
    assert shares.time_share == {"fp16": 0.5, "fp32": 0.5}
    assert shares.heavy_share == {"fp16": 1.0}


def test_an_fp32_engine_fails_as_fp16_and_its_layers_are_named() -> None:
    names = [f"stage{i}/conv" for i in range(8)]
    text = shortfall(read_layers(report(*(layer("CaskConvolution", "fp32", name) for name in names))), "fp16")
    assert text.startswith("only 0% of its heavy layers are fp16, 90% are required: stage0/conv (fp32)")
    assert text.endswith("and 3 more")


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (1, True), (2, False), (10, False)])
def test_one_heavy_layer_in_ten_may_stay_in_fp32(wrong: int, passes: bool) -> None:
    layers = [layer("CaskGemm", "fp32" if i < wrong else "fp16", f"gemm{i}") for i in range(10)]
    assert (shortfall(read_layers(report(*layers)), "fp16") == "") == passes


def test_light_fp32_layers_do_not_count_against_heavy_fp16_ones() -> None:
    layers = [layer("CaskConvolution", "fp16"), *(layer("PointWise", "fp32", f"p{i}") for i in range(30))]
    assert shortfall(read_layers(report(*layers)), "fp16") == ""


def test_without_a_heavy_layer_nothing_is_proved() -> None:
    """Layers that the caster leaves in FP32 are not evidence against an engine."""
    layers = read_layers(report(layer("PointWise", "fp32"), layer("SoftMax", "fp32")))
    assert shortfall(layers, "fp16") == ""
    assert audit(layers, {}) is None


def test_generated_kernels_are_classified_by_their_names() -> None:
    heavy, light = layer("kgen", "fp32", "_gemm_mha_v2_myl0_4"), layer("kgen", "fp32", "__myl_AddMul_3")
    assert [each.is_heavy for each in read_layers(report(heavy, light))] == [True, False]
    assert "_gemm_mha_v2_myl0_4 (fp32)" in shortfall(read_layers(report(heavy, light)), "fp16")


def test_layers_on_the_dla_are_heavy() -> None:
    layers = read_layers(report(layer("DLA", "fp16", "{ForeignNode[conv1...conv9]}"), layer("PointWise", "fp32")))
    assert shortfall(layers, "fp16") == ""
    assert audit(layers, {}) is not None


def test_types_that_depend_on_a_shape_are_unknown() -> None:
    tensor = {"Name": "x", "Format/Datatype": "N/A due to dynamic shapes"}
    weighed = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [tensor], "Outputs": [tensor]}
    assert read_layers(report(weighed)) == []
    (found,) = read_layers(report({**weighed, "Weights": {"Type": "Half", "Count": 9}}))
    assert found.precision == "fp16"


INSPECTOR = Path(__file__).with_name("inspector")
"""Reports in the shape of published engines': keys, kinds, formats and names of kernels; the networks are invented."""


def precisions(file: str) -> dict[str, tuple[str, bool]]:
    """Layer -> its precision, and whether it is heavy."""
    layers = read_layers((INSPECTOR / f"{file}.json").read_text(encoding="utf-8"))
    return {layer.name: (layer.precision, layer.is_heavy) for layer in layers}


def test_a_report_of_10_3() -> None:
    """Formats as sentences, fused names, and a type that depends on the shape."""
    assert precisions("tensorrt-10.3-fp16") == {
        "/stem/Conv + PWN(/stem/Relu)": ("fp16", True),
        "/a/Conv": ("fp16", True),
        "/grouped/Conv": ("fp16", True),
        "PWN(PWN(/act/Sigmoid), /act/Mul)": ("fp16", False),
        "/up/Resize": ("fp16", False),
        "/sm/Softmax": ("fp32", False),
        "/ArgMax": ("fp32", False),
    }


def test_a_report_of_10_16_with_layers_of_myelin() -> None:
    """What Myelin made of FP32 in and FP16 out may be anything inside, so it counts neither way."""
    found = precisions("tensorrt-10.16-myelin")
    assert found.pop("{ForeignNode[/dec/MatMul.../dec/MatMul_9]}") == ("fp16", True)
    assert found == {
        "__myl_CastTranMul_myl0_0": ("fp16", False),
        "/patch/Conv_myl0_1": ("fp16", True),
        "/blk/qkv/MatMul_myl0_2": ("fp16", True),
        "_gemm_mha_v2_myl0_3": ("fp16", True),
        "__myl_CastMeanSubMulMeanAddSqrtDivMulAdd_myl0_4": ("fp16", False),
        "/head/Conv + /head/Add": ("int8", True),
    }


def test_a_report_of_11() -> None:
    """Another key for the type, TF32 that only the kernel's name shows, and one without any type but there."""
    assert precisions("tensorrt-11.4-mixed") == {
        "/stem/Conv": ("fp16", True),
        "/grouped/Conv": ("tf32", True),
        "/fc/MatMul_myl1_0": ("bf16", True),
        "/last/Conv": ("fp8", True),
        "ElementWiseFusion_3": ("fp32", False),
    }


def test_tf32_is_not_fp32() -> None:
    tactic = "sm80_xmma_fprop_implicit_gemm_tf32tf32_tf32f32_f32_nhwckrsc_nhwc"
    layers = read_layers(report(layer("CaskConvolution", "fp32", "conv", TacticName=tactic)))
    assert "only 0% of its heavy layers are fp32, 99% are required: conv (tf32)" in shortfall(layers, "fp32")


def test_half_is_not_fp32() -> None:
    assert "only 0%" in shortfall(read_layers(report(layer("CaskConvolution", "fp16"))), "fp32")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Bindings": []}', "null"])
def test_an_empty_report_proves_nothing(text: str) -> None:
    assert audit(read_layers(text), {}) is None


def test_names_alone_prove_nothing() -> None:
    assert read_layers(report("conv1", "conv2")) == []
