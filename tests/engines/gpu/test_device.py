"""One thread holds the GPU: opens it, uses it, gives everything back in order."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engines.errors import BackendUnavailableError, InferenceError, WrongThreadError
from engines.gpu.device import Device, import_pycuda
from engines.gpu.frame import FrameBuffer
from engines.gpu.letterbox import LetterboxKernel
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
        assert world.live() == [], "something was not given back"
        assert world.leaks == [], "something outlived its context"
        assert world.violations == []


def test_what_is_taken_is_given_back_and_closing_twice_is_harmless(world: World) -> None:
    device = Device()
    device.memory(1000)
    device.pinned((3, 4), np.float32)
    device.stream()
    device.event()
    device.close()
    device.close()


def test_memory_may_be_given_back_early_and_only_once(world: World) -> None:
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


def test_fifty_times_open_and_close_leave_nothing(world: World) -> None:
    for _ in range(50):
        with Device() as device:
            device.memory(1 << 20)
            LetterboxKernel(device, SPEC)


@pytest.mark.parametrize(
    "use",
    [
        lambda device: device.memory(10),
        lambda device: device.stream(),
        lambda device: device.close(),
        lambda device: device.check_thread(),
    ],
    ids=["memory", "stream", "close", "check"],
)
def test_another_thread_is_refused_by_our_own_check(world: World, use: Callable[[Device], object]) -> None:
    with Device() as device:
        error = raised_elsewhere(lambda: use(device))
    assert isinstance(error, WrongThreadError)
    assert "belongs to the thread that opens it" in str(error)


def test_a_second_thread_waits_for_the_first_to_let_go(world: World) -> None:
    """A source that is switched: the old session ends beside the new one's start."""
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


def test_what_cannot_be_freed_does_not_keep_the_context(world: World) -> None:
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


def test_a_second_thread_cannot_open_the_gpu_meanwhile_but_afterwards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.gpu.primary.HANDOVER_S", 0.1)
    with Device():
        error = raised_elsewhere(Device)
        assert isinstance(error, BackendUnavailableError)
        assert "in use by another thread" in str(error)
    assert raised_elsewhere(lambda: Device().close()) is None


def test_a_full_gpu_says_how_full_and_what_to_do(world: World) -> None:
    with Device() as device, pytest.raises(BackendUnavailableError) as caught:
        device.memory(world.total_bytes + 1)
    assert "could not take 4096.0 MiB of its memory" in str(caught.value)
    assert "of its 4096 MiB are free" in str(caught.value)
    assert "--size HxW" in str(caught.value)


@pytest.mark.parametrize("name", ["Context.push", "Device.retain_primary_context"])
def test_a_context_that_does_not_open_is_told_and_leaves_nothing(world: World, name: str) -> None:
    world.fail(name, 1, 2)
    with pytest.raises(BackendUnavailableError, match="its CUDA context cannot be opened"):
        Device()
    with Device():
        pass


def test_work_that_failed_is_told_when_it_is_waited_for(world: World) -> None:
    with Device() as device:
        stream, array = device.stream(), device.pinned((16,), np.uint8)
        memory = device.memory(16)
        world.fail("work:htod", 1, 700)
        device.upload(memory.address, array.array, stream)
        with pytest.raises(InferenceError, match=r"failed to finish its work: .*illegal"):
            stream.synchronise()
    world.violations.clear()


def test_pycuda_that_is_missing_or_broken_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BackendUnavailableError, match=r"PATH=/usr/local/cuda/bin:\$PATH and then pip install pycuda"):
        import_pycuda()


def test_without_pycuda_the_device_says_so() -> None:
    with (
        install(World(has_pycuda=False, has_tensorrt=False)),
        pytest.raises(BackendUnavailableError, match="PyCUDA is not installed"),
    ):
        Device()


@pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU")
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_a_frame_becomes_the_input_that_the_cpu_makes_of_it(world: World, dtype: str) -> None:
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


def test_a_recorded_graph_repeats_the_work_with_new_contents(world: World) -> None:
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


def test_what_cannot_be_recorded_leaves_the_stream_usable(world: World) -> None:
    with Device() as device:
        stream, memory, array = device.stream(), device.memory(4), device.pinned((4,), np.uint8)
        with pytest.raises(InferenceError):
            stream.capture(stream.synchronise)
        with pytest.raises(ZeroDivisionError):
            stream.capture(lambda: 1 / 0)
        device.upload(memory.address, array.array, stream)
        stream.synchronise()


def test_a_frame_buffer_grows_and_takes_only_pictures(world: World) -> None:
    with Device() as device:
        buffer = FrameBuffer(device)
        for size in ((10, 20), (100, 200), (10, 20)):
            buffer.stage(np.zeros((*size, 3), np.uint8))
        assert world.calls["mem_alloc"] == 2
        buffer.stage(np.zeros((40, 40, 3), np.uint8)[::2, ::2])
        for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
            with pytest.raises(ValueError, match=r"an image is \(H, W, 3\) uint8"):
                buffer.stage(wrong)
