"""Host and GPU hand arrays to each other: copied where each has a memory of its own, and as they are where both share it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest

from engines.gpu.buffer import Buffer
from engines.gpu.device import Device
from engines.gpu.letterbox import FrameBuffer

from ...fakes.gpu.fake_gpu import World, install

COPIES = ("memcpy_htod_async", "memcpy_dtoh_async", "mem_alloc")


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with install(World(is_integrated=request.param)) as world:
        yield world
        gc.collect()
        assert (world.live(), world.leaks, world.violations) == ([], [], [])


def test_what_goes_up_comes_down_again(world: World) -> None:
    with Device() as device:
        stream, buffer = device.stream(), Buffer(device, (3, 5), np.float32)
        assert buffer.address % 256 == 0, "TensorRT's alignment"
        wanted = np.arange(15, dtype=np.float32).reshape(3, 5)
        buffer.array[...] = wanted
        buffer.upload(stream)
        buffer.download(stream)
        stream.synchronise()
        np.testing.assert_array_equal(buffer.array, wanted)
        assert [world.calls[name] for name in COPIES] == ([0, 0, 0] if world.is_integrated else [1, 1, 1])


def test_shared_memory_can_be_copied_all_the_same_to_measure_what_that_costs(world: World) -> None:
    with Device(copies=True) as device:
        stream, buffer = device.stream(), Buffer(device, (16,), np.uint8)
        buffer.upload(stream)
        buffer.download(stream)
        stream.synchronise()
        assert [world.calls[name] for name in COPIES] == [1, 1, 1]


def test_it_can_be_freed_early_and_only_once(world: World) -> None:
    with Device() as device:
        buffer = Buffer(device, (1 << 20,), np.uint8)
        buffer.free()
        buffer.free()
        assert world.memory.free_bytes == world.total_bytes


def test_a_frame_is_staged_once_and_never_copied_again_where_memory_is_shared(world: World) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    with Device() as device:
        stream, buffer = device.stream(), FrameBuffer(device)
        for image in (frame[::2], frame, frame[:, ::-1]):
            buffer.stage(image)
            buffer.upload(stream)
            stream.synchronise()
            there = world.memory.bytes_at(buffer.address, image.nbytes, "a kernel")
            np.testing.assert_array_equal(there.reshape(image.shape), image)
        assert world.calls["memcpy_htod_async"] == (0 if world.is_integrated else 3)
        assert world.calls["pagelocked_empty"] == 2, "it has grown once"


def test_what_the_gpu_reads_again_and_again_is_in_memory_of_its_own(world: World) -> None:
    """It does not cache the host's."""
    with Device() as device:
        stream, buffer = device.stream(), Buffer(device, (16,), np.uint8, stays=True)
        assert world.memory.space_of(buffer.address) == "device"
        buffer.array[:] = 7
        buffer.upload(stream)
        stream.synchronise()
        buffer.array[:] = 0
        buffer.download(stream)
        stream.synchronise()
        assert (buffer.array == 7).all()
