"""An engine for batches on a real GPU. Builds `road` once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.backends import EngineOptions
from engines.backends.trt import first_runtime
from engines.building import builder
from engines.building.frames import real_frames
from engines.errors import BackendUnavailableError
from engines.families import DecodeSettings
from engines.gpu.device import Device, import_pycuda
from engines.models import zoo
from engines.plans.requests import request_for
from engines.plans.store import Store
from engines.segmenter import Segmenter
from engines.types import Size

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

BATCH = 3


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`road` for three images at a time, in folders of its own; or skips with the reason."""
    folder: Path = tmp_path_factory.mktemp("batches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        try:
            import_pycuda()
            model = zoo.find("road")
            request = request_for(model, precision="fp16", runtime=first_runtime(), batch=BATCH)
            builder.EngineBuilder(model, request, builder.environment_for(request), Store()).run()
        except BackendUnavailableError as error:
            pytest.skip(error.what)
        yield


@pytest.mark.parametrize("inflight", [1, 2])
def test_a_batch_gives_the_results_of_its_images_alone(built: None, inflight: int) -> None:
    """Twice each number of images: the second time as a graph."""
    frames = real_frames(None, 6)[:BATCH]
    with Segmenter(zoo.find("road"), "trt", EngineOptions(batch=BATCH, inflight=inflight)) as segmenter:
        segmenter.warm_up(Size.of(frames[0]))
        alone = [segmenter(frame).class_map for frame in frames]
        for count in (3, 2, 1, 2, 3):
            found = segmenter.run_batch(frames[:count], [DecodeSettings()] * count)
            for one, wanted in zip(found, alone, strict=False):
                assert one.class_map is not None
                assert wanted is not None
                assert np.mean(one.class_map == wanted) >= 0.995
        assert "batches of 3" in segmenter.choice.engine.description
        assert "no CUDA graph" not in segmenter.choice.engine.description


def test_frames_in_flight_and_batches_share_the_scratch_memory(built: None) -> None:
    frames = real_frames(None, 2)
    taken = []
    with Device() as device:
        if device.shares_memory:
            pytest.skip("free memory is the whole system's here")
        for inflight in (1, 1, 3):
            before = device.free_bytes()
            with Segmenter(zoo.find("road"), "trt", EngineOptions(batch=BATCH, inflight=inflight)) as segmenter:
                segmenter.warm_up(Size.of(frames[0]))
                taken.append(before - device.free_bytes())
    assert taken[2] <= 2 * taken[1] + (64 << 20), "CUDA's pools and graphs apart"
