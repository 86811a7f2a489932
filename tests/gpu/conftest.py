"""A GPU for the tests, or a skip with what the machine lacks; and one engine for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from engines.backends.trt import first_runtime
from engines.building import builder
from engines.errors import BackendUnavailableError, BuildError, NoGpuError
from engines.gpu.device import Device, import_pycuda
from engines.gpu.driver import Driver
from engines.models import zoo
from engines.models.model import Model
from engines.plans.requests import request_for
from engines.plans.store import Store

MODEL = "road"


@pytest.fixture(autouse=True)
def needs_gpu() -> None:
    try:
        Driver()
    except NoGpuError as error:
        pytest.skip(error.what)


@pytest.fixture
def device(needs_gpu: None) -> Iterator[Device]:
    try:
        import_pycuda()
    except BackendUnavailableError as error:
        pytest.skip(error.what)
    with Device() as device:
        yield device


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A model with an FP16 engine, built once for the module in folders of its own; or a skip with the runtime's reason."""
    folder = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        try:
            Driver()
            import_pycuda()
            model = zoo.find(MODEL)
            request = request_for(model, precision="fp16", runtime=first_runtime())
            builder.EngineBuilder(model, request, builder.environment_for(request), Store()).run()
        except BackendUnavailableError as error:
            pytest.skip(error.what)
        except BuildError as error:
            if "compute capability" in str(error):  # TensorRT-RTX does not support every GPU
                pytest.skip(error.what)
            raise
        yield model


def check_no_leak(free_bytes: Sequence[int], most_bytes: int, device: Device) -> None:
    """From the first to the last, at most so much free memory was lost.

    Skips where GPU and CPU share their memory, as on a Jetson: other programs, and this one's own arrays, change it too.
    """
    if is_integrated(device):
        pytest.skip("the GPU shares its memory with the CPU: what is free depends on other programs too")
    assert free_bytes[0] - free_bytes[-1] <= most_bytes


def is_integrated(device: Device) -> bool:
    """Whether the GPU has no memory of its own."""
    return device.facts.shares_memory
