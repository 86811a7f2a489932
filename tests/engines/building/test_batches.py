"""Engines for batches: each image has the results that it has alone, or there is no engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from engines.building.batches import check_network
from engines.building.frames import real_frames
from engines.building.network import Reference
from engines.errors import BuildError, EngineError, ModelFileError
from engines.models import zoo
from engines.models.exporting import cast_model, fuse_outputs
from engines.models.model import load_model
from engines.models.sizing import with_input_size
from engines.plans.requests import request_for
from engines.trt.builder import BuildOptions, build_plan
from engines.trt.runtime import open_tensorrt

from ...fakes import host_kernels
from ..backends.test_side_inputs import running_mean
from ..gpu_machine import GpuMachine
from ..masked import yolo_model

needs_kernels = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")


def write_mixing_model(nets: Any, batch: int | str = "batch") -> Path:
    """Class 1 where a picture is brighter than the mean of all pictures of the run."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", ["grey"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["grey", "mean"], ["bright"]),
        helper.make_node("Neg", ["bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["logits"], axis=1),
    ]
    path: Path = nets.save(
        "mixing", nodes, [("image", "float32", [batch, 3, 24, 32])], [("logits", "float32", [batch, 2, 24, 32])]
    )
    path.with_suffix(".toml").write_text("[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    return path


@needs_kernels
def test_a_network_whose_images_influence_each_other_is_refused_before_the_build(machine: GpuMachine, nets: Any) -> None:
    model = load_model(write_mixing_model(nets))
    with pytest.raises(
        BuildError, match=r"the network gives other results in a batch: .*labels agree .* an image alone.*--batch"
    ):
        machine.build(model, batch=2, precision="fp32")
    assert machine.world.calls["Builder.build_serialized_network"] == 0
    machine.build(model, precision="fp32")


@needs_kernels
@pytest.mark.parametrize("number", [2, 3, 12])
def test_an_engine_that_is_wrong_in_batches_only_is_refused(machine: GpuMachine, nets: Any, number: int) -> None:
    """Wrong in the last image of a full batch, and right in all others."""
    model = load_model(nets.semantic())

    def last_is_wrong(outputs: dict[str, Any]) -> dict[str, Any]:
        labels = outputs["labels"].copy()
        if len(labels) == number:
            labels[-1] = 2 - labels[-1]
        return {**outputs, "labels": labels}

    machine.world.build_breaks_parity = last_is_wrong
    with pytest.raises(BuildError, match=rf"an engine for {number} images at a time gives other results in a batch"):
        machine.build(model, batch=number)
    machine.world.build_breaks_parity = None
    assert machine.build(model, batch=number).request.batch == number


def test_a_batch_that_is_a_constant_of_the_graph_is_refused_with_the_cure(tmp_path: Path) -> None:
    model = yolo_model(tmp_path)
    with pytest.raises(ModelFileError, match=r"its batch is a constant of its graph .*open batch, or leave out --batch"):
        with_input_size(onnx.load(model.path), model.card, model.card.input.size, "dynamic")


def test_a_recurrent_network_is_refused_with_the_cure(nets: Any) -> None:
    with pytest.raises(EngineError, match=r"takes .* in addition to the image, which an engine cannot\. Run it on the CPU"):
        request_for(load_model(running_mean(nets)), precision="fp16", runtime="tensorrt", batch=4)


@pytest.mark.parametrize("name", ["road", "people", pytest.param("road-small", marks=pytest.mark.slow)])
def test_bundled_models_are_built_for_batches_by_a_real_tensorrt(name: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    model, frames = zoo.find(name), real_frames(None, 2)
    network, card = with_input_size(onnx.load(model.path), model.card, None, "dynamic")
    reference = Reference(*fuse_outputs(network, card), frames)
    check_network(reference, 4)
    cast, _ = cast_model(reference.network, reference.card, "fp16")
    options = BuildOptions(workspace_bytes=2**28, targets=("86",), largest_batch=4)
    assert build_plan(open_tensorrt("tensorrt-rtx"), cast.SerializeToString(), options).plan


def test_a_single_picture_to_compare_on_reveals_it_too(nets: Any) -> None:
    """The user's folder may hold one."""
    model = load_model(write_mixing_model(nets))
    frame = np.random.default_rng(1).integers(0, 100, (24, 32, 3)).astype(np.uint8)
    frame[:12] //= 4
    reference = Reference(onnx.load(model.path), model.card, [frame])
    check_network(Reference(onnx.load(nets.semantic()), load_model(nets.semantic()).card, [frame]), 2)
    with pytest.raises(BuildError, match="gives other results in a batch"):
        check_network(reference, 2)
