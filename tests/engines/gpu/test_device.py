"""One thread opens the GPU, uses it, and releases everything in order."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from engines.errors import BackendUnavailableError, InferenceError
from engines.gpu.device import Device, import_pycuda
from engines.gpu.letterbox import FrameBuffer, LetterboxKernel
from engines.models.card import InputSpec
from engines.models.fit import InputFiller
from tests.threads import raised_elsewhere

from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World, install

SPEC = InputSpec("image", (64, 48), "nchw", "float32", "rgb", "letterbox", std=(255.0, 255.0, 255.0))


@pytest.fixture
def world() -> Iterator[World]:
    with install(World()) as world:
        yield world
        gc.collect()
        assert world.live() == [], "something was not freed"
        assert world.leaks == [], "something outlived its context"
        assert world.violations == []


def test_everything_is_freed_and_close_is_idempotent(world: World) -> None:
    device = Device()
    device.memory(1000)
    device.pinned((3, 4), np.float32)
    device.stream()
    device.event()
    device.close()
    device.close()


def test_no_context_stays_on_the_drivers_stack(world: World) -> None:
    """PyCUDA's `detach` leaves one there for a primary context, which the driver counts and PyCUDA does not."""
    for _ in range(3):
        with Device() as device:
            inside = device.driver.current_context()
        assert inside is not None
        assert device.driver.current_context() is None
    assert world.stack() == []


def test_a_failed_release_pops_nothing_that_is_not_its_own(world: World) -> None:
    device = Device()
    world.fail("Context.detach", 1, 201)
    device.close()
    assert world.stack() == []
    world.primaries[0].retained = 0  # the release that failed


def test_memory_can_be_freed_early_and_only_once(world: World) -> None:
    with Device() as device:
        memory = device.memory(1 << 20)
        free = device.free_bytes()
        memory.free()
        assert device.free_bytes() == free + (1 << 20)
        memory.free()


def test_devices_of_one_thread_share_the_context(world: World) -> None:
    with Device() as first, Device() as second:
        assert first.facts == second.facts
        second.memory(10)
    assert world.calls["Device.retain_primary_context"] == 1
    with Device():
        pass
    assert world.calls["Device.retain_primary_context"] == 2


def test_opening_and_closing_fifty_times_leaks_nothing(world: World) -> None:
    for _ in range(50):
        with Device() as device:
            device.memory(1 << 20)
            LetterboxKernel(device, SPEC)


def test_a_second_thread_waits_until_the_first_releases_the_gpu(world: World) -> None:
    """When sources are switched, the old session ends while the new one starts."""
    opened, errors = threading.Event(), []

    def hold() -> None:
        with Device():
            opened.set()
            time.sleep(0.3)

    first = threading.Thread(target=hold)
    first.start()
    opened.wait()
    errors.append(raised_elsewhere(lambda: Device().close()))
    first.join()
    assert errors == [None]


def test_an_error_while_freeing_still_releases_the_context(world: World) -> None:
    """A thread that ended with a context on its stack would end the process."""
    device = Device()

    def fail() -> None:
        raise ZeroDivisionError

    device.on_close(fail)
    device.memory(10)
    with pytest.raises(ZeroDivisionError):
        device.close()
    device.close()
    gc.collect()
    world.leaks.clear()
    with Device():
        pass


def test_a_second_thread_can_open_the_gpu_only_after_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.gpu.primary.HANDOVER_S", 0.1)
    with Device():
        error = raised_elsewhere(Device)
        assert isinstance(error, BackendUnavailableError)
        assert "another thread of this program uses the GPU" in str(error)
    assert raised_elsewhere(lambda: Device().close()) is None


def test_a_lack_of_gpu_memory_is_reported_with_the_cure(world: World) -> None:
    with Device() as device, pytest.raises(BackendUnavailableError) as caught:
        device.memory(world.total_bytes + 1)
    assert "could not allocate 4096.0 MiB of its memory" in str(caught.value)
    assert "of its 4096 MiB are free" in str(caught.value)
    assert "--size HxW" in str(caught.value)


@pytest.mark.parametrize("name", ["Context.push", "Device.retain_primary_context"])
def test_a_context_that_does_not_open_is_reported_and_leaks_nothing(world: World, name: str) -> None:
    world.fail(name, 1, 2)
    with pytest.raises(BackendUnavailableError, match="its CUDA context cannot be opened"):
        Device()
    with Device():
        pass


def test_failed_work_is_reported_by_the_wait_for_it(world: World) -> None:
    with Device() as device:
        stream, array = device.stream(), device.pinned((16,), np.uint8)
        memory = device.memory(16)
        world.fail("work:htod", 1, 700)
        device.upload(memory.address, array.array, stream)
        with pytest.raises(InferenceError, match=r"failed to finish its work: .*illegal"):
            stream.synchronise()
    world.violations.clear()


def test_missing_pycuda_is_reported_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BackendUnavailableError, match=r"PATH=/usr/local/cuda/bin:\$PATH and then pip install pycuda"):
        import_pycuda()


def test_a_device_needs_pycuda() -> None:
    with (
        install(World(has_pycuda=False, has_tensorrt=False)),
        pytest.raises(BackendUnavailableError, match="PyCUDA is not installed"),
    ):
        Device()


@pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_a_frame_becomes_the_same_input_as_on_the_cpu(world: World, dtype: str) -> None:
    scale = (1.0, 1.0, 1.0) if dtype == "uint8" else (255.0, 255.0, 255.0)
    spec = InputSpec("image", (64, 48), "nhwc", dtype, "rgb", "letterbox", std=scale)  # type: ignore[arg-type]
    fill = InputFiller(spec)
    rng = np.random.default_rng(0)
    with Device() as device:
        stream, buffer, kernel = device.stream(), FrameBuffer(device), LetterboxKernel(device, spec)
        wanted, _ = fill(rng.integers(0, 255, (48, 64, 3), np.uint8))
        target, result = device.memory(wanted.nbytes), device.pinned(wanted.shape, wanted.dtype)
        for height, width in ((48, 64), (90, 160), (31, 57), (90, 160)):
            frame = rng.integers(0, 255, (height, width, 3), np.uint8)
            wanted, geometry = fill(frame)
            buffer.stage(frame)
            buffer.upload(stream)
            kernel.enqueue(buffer.address, target.address, geometry, stream)
            device.download(result.array, target.address, stream)
            stream.synchronise()
            level = 1 if dtype == "uint8" else 1.05 / 255
            assert np.abs(result.array.astype(np.float32) - wanted.astype(np.float32)).max() <= level


def test_a_recorded_graph_repeats_the_work_on_new_data(world: World) -> None:
    with Device() as device:
        stream, memory = device.stream(), device.memory(4)
        source, target = device.pinned((4,), np.uint8), device.pinned((4,), np.uint8)

        def work() -> None:
            device.upload(memory.address, source.array, stream)
            device.download(target.array, memory.address, stream)

        graph = stream.capture(work)
        for value in (1, 2, 3):
            source.array[:] = value
            target.array[:] = 0
            graph.launch()
            stream.synchronise()
            assert (target.array == value).all()
        graph.free()
        graph.free()


def test_a_failed_recording_leaves_the_stream_usable(world: World) -> None:
    with Device() as device:
        stream, memory, array = device.stream(), device.memory(4), device.pinned((4,), np.uint8)
        with pytest.raises(InferenceError):
            stream.capture(stream.synchronise)
        with pytest.raises(ZeroDivisionError):
            stream.capture(lambda: 1 / 0)
        device.upload(memory.address, array.array, stream)
        stream.synchronise()


def test_a_frame_buffer_grows_and_refuses_other_arrays(world: World) -> None:
    with Device() as device:
        buffer = FrameBuffer(device)
        for size in ((10, 20), (100, 200), (10, 20)):
            buffer.stage(np.zeros((*size, 3), np.uint8))
        assert world.calls["mem_alloc"] == 2
        buffer.stage(np.zeros((40, 40, 3), np.uint8)[::2, ::2])
        for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
            with pytest.raises(ValueError, match=r"an image is \(H, W, 3\) uint8"):
                buffer.stage(wrong)
