"""A GPU's engines take pictures as cameras and decoders give them: the kernel converts them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.backends import EngineOptions
from engines.models.model import Model, load_model
from engines.pictures.pixels import Colours
from engines.pictures.raw import RawPicture
from engines.segmenter import Segmenter
from engines.types import Size

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World
from ..gpu_machine import GpuMachine, fake_machine
from ..raw_pictures import COLOURS, RAW, noise_of

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")

SIZE = Size(32, 24)


@pytest.fixture
def model(nets) -> Model:
    return load_model(nets.semantic())


@pytest.mark.parametrize("is_integrated", [False, True], ids=["discrete", "integrated"])
@pytest.mark.parametrize("backend", ["trt", "ort-cuda"])
def test_every_format_is_segmented_as_its_bgr_is(
    tmp_path: Path, monkeypatch, model: Model, backend: str, is_integrated: bool
) -> None:
    pictures = [noise_of(format, SIZE, colours, seed) for seed, colours in enumerate(COLOURS[:4]) for format in RAW]
    with fake_machine(tmp_path, monkeypatch, World(is_integrated=is_integrated)) as machine:
        machine.build(model)
        with Segmenter(model, backend) as segmenter:
            assert segmenter.takes >= set(RAW)
            found = [segmenter(picture).class_map for picture in pictures for _ in range(3)]
            assert all(picture.nbytes == sum(plane.nbytes for plane in picture.planes) for picture in pictures), (
                "none is converted"
            )
            wanted = [segmenter(picture.bgr()).class_map for picture in pictures for _ in range(3)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_format_is_a_graph_of_its_own(machine: GpuMachine, model: Model) -> None:
    """The address of a larger picture is another, and so are the kernel's parameters."""
    engine = machine.open(model, options=EngineOptions(inflight=1)).engine
    machine.reset_counts()
    calls = machine.world.calls
    for format in ("i420", "bgrx", "bgrx", "bgrx"):
        engine.infer(noise_of(format, SIZE))
    assert calls["cuStreamBeginCapture_v2"] == 1, "the first run of a format is not recorded"
    for is_full in (False, False, True, True):
        engine.infer(noise_of("nv12", SIZE, Colours(1, is_full)))
    assert calls["cuStreamBeginCapture_v2"] == 3
    engine.close()


def test_a_picture_with_padded_rows_is_uploaded_without_its_padding(machine: GpuMachine, model: Model, painted) -> None:
    class_map = (np.indices((24, 32)).sum(axis=0) // 16 % 3).astype(np.uint8)
    whole = cv2.cvtColor(painted(class_map), cv2.COLOR_BGR2BGRA)
    padded = np.full((24, 40, 4), 9, np.uint8)
    padded[:, :32] = whole
    engine = machine.open(model).engine
    np.testing.assert_array_equal(2 - engine.infer(RawPicture("bgrx", (padded[:, :32],))).outputs["labels"][0], class_map)
    engine.close()
