"""The fake GPU enforces CUDA's and PyCUDA's rules: one small test per rule. Kernels, graphs and TensorRT: see gpu/."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
import pytest

from tests.fakes.gpu.fake_gpu import FakeLibcuda, World, install
from tests.fakes.gpu.lab import HANDLE, copies
from tests.threads import raised_elsewhere


class TestStart:
    def test_the_fakes_are_removed_after_the_block(self) -> None:
        with install(World()):
            assert "fake" in (sys.modules["pycuda"].__doc__ or "")
        assert "pycuda" not in sys.modules
        assert "tensorrt" not in sys.modules

    def test_nothing_works_before_init(self, world: World) -> None:
        import pycuda.driver as cuda

        with pytest.raises(cuda.LogicError, match="initialization error"):
            cuda.Device(0)
        assert FakeLibcuda(world).cuDeviceGetCount(ctypes.byref(ctypes.c_int())) == 3

    @pytest.mark.parametrize("code", [35, 100, 803, 999])
    def test_init_fails_as_planned(self, world: World, lib: FakeLibcuda, code: int) -> None:
        import pycuda.driver as cuda

        world.init_result = code
        assert lib.cuInit(0) == code
        with pytest.raises(cuda.Error):
            cuda.init()

    def test_no_driver_means_no_library_and_no_pycuda(self) -> None:
        from engines.gpu import driver

        with install(World(has_driver=False)):
            with pytest.raises(OSError, match="libcuda"):
                driver.load_library()
            with pytest.raises(ImportError, match="libcuda"):
                import pycuda.driver  # noqa: F401

    def test_packages_can_be_missing(self) -> None:
        with install(World(has_pycuda=False, has_tensorrt=False)) as world:
            with pytest.raises(ImportError):
                import pycuda.driver  # noqa: F401
            with pytest.raises(ImportError):
                import tensorrt  # noqa: F401
            library = FakeLibcuda(world)  # which needs neither
            assert library.cuInit(0) == 0
            assert library.cuDeviceGetAttribute(ctypes.byref(ctypes.c_int()), 76, 0) == 0


class TestContexts:
    def test_nothing_works_without_a_context(self, world: World) -> None:
        import pycuda.driver as cuda

        cuda.init()
        for make in (lambda: cuda.mem_alloc(1), cuda.Stream, cuda.Event, lambda: cuda.pagelocked_empty(1, np.uint8)):
            with pytest.raises(cuda.LogicError, match="invalid device context - no currently active context"):
                make()

    def test_a_pop_of_an_empty_stack_fails(self, world: World) -> None:
        import pycuda.driver as cuda

        with pytest.raises(cuda.LogicError, match="cannot pop"):
            cuda.Context.pop()

    def test_objects_alive_at_the_release_are_leaks(self, world: World) -> None:
        import pycuda.driver as cuda

        cuda.init()
        context = cuda.Device(0).retain_primary_context()
        context.push()
        memory = cuda.mem_alloc(8)
        assert len(world.live()) == 3
        context.pop()
        context.detach()
        assert world.leaks == [f"device memory: 8 bytes at {int(memory):#x} (mem_alloc)"]
        with pytest.raises(cuda.LogicError, match="cannot detach"):
            context.detach()

    def test_a_detach_leaves_a_primary_context_on_the_drivers_stack(self, world: World, lib: FakeLibcuda) -> None:
        """As in PyCUDA 2026.1: cuCtxPushCurrent, then cuDevicePrimaryCtxRelease, which pops nothing."""
        import pycuda.driver as cuda

        cuda.init()
        context = cuda.Device(0).retain_primary_context()
        context.push()
        context.pop()
        context.detach()
        assert world.live() == ["context: still pushed on thread MainThread"]
        with pytest.raises(cuda.LogicError, match="cannot pop"):
            cuda.Context.pop()
        assert lib.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())) == 0
        assert world.live() == []

    def test_memory_cannot_be_freed_through_another_retain(self, cuda: Any, world: World) -> None:
        memory = cuda.mem_alloc(8)

        def free() -> None:
            other = cuda.Device(0).retain_primary_context()
            other.push()
            try:
                memory.free()
            finally:
                other.pop()
                other.detach()

        with pytest.warns(UserWarning, match="out-of-thread context"):
            raised_elsewhere(free)
        assert world.violations == ["device_allocation in out-of-thread context could not be cleaned up"]


class TestMemory:
    def test_fresh_memory_is_poison(self, cuda: Any) -> None:
        memory = cuda.mem_alloc(4)
        assert cuda.from_device(memory, 4, np.uint8).tolist() == [0xCD] * 4
        memory.free()

    def test_freed_memory_is_gone(self, cuda: Any) -> None:
        memory = cuda.mem_alloc(4)
        memory.free()
        with pytest.raises(cuda.LogicError, match="used after it was freed"):
            cuda.memcpy_htod(memory, bytes(4))
        with pytest.raises(cuda.LogicError, match="device_allocation::free failed: invalid resource handle"):
            memory.free()

    def test_copies_beyond_the_end_fail(self, cuda: Any) -> None:
        memory = cuda.mem_alloc(4)
        with pytest.raises(cuda.LogicError, match="invalid argument"):
            cuda.memcpy_htod(memory, bytes(5))

    def test_memory_is_finite(self, cuda: Any, world: World) -> None:
        world.total_bytes = 1000
        memory = cuda.mem_alloc(600)
        assert cuda.mem_get_info() == (400, 1000)
        with pytest.raises(cuda.MemoryError, match="out of memory"):
            cuda.mem_alloc(401)
        memory.free()

    def test_wrong_types_are_refused(self, cuda: Any) -> None:
        with pytest.raises(TypeError, match="did not match"):
            cuda.mem_alloc(np.int64(4))
        with pytest.raises(TypeError, match="did not match"):
            cuda.memcpy_htod(np.uint64(4), bytes(4))
        with pytest.raises(ValueError, match="not contiguous"):
            cuda.memcpy_htod(cuda.mem_alloc(8), np.zeros((4, 4), np.uint8)[:, ::2])
        with pytest.raises(AttributeError):
            cuda.mem_alloc(4).ptr  # noqa: B018
        with pytest.raises(AttributeError):
            cuda.cuMemAlloc  # noqa: B018

    def test_pinned_arrays_own_their_memory_through_base(self, cuda: Any, world: World) -> None:
        array = cuda.pagelocked_empty((2, 3), np.float16)
        assert array.shape == (2, 3)
        array.base.free()
        assert not any("pinned" in line for line in world.live())
        with pytest.raises(cuda.LogicError):
            array.base.free()

    def test_a_free_under_running_work_is_recorded(self, cuda: Any, world: World) -> None:
        _, _, _, memory, enqueue = copies(cuda)
        enqueue()
        memory.free()
        assert len(world.violations) == 2
        assert "still uses it" in world.violations[0]

    def test_a_free_that_cuda_refuses_raises_nothing_and_leaks(self, cuda: Any, world: World) -> None:
        memory = cuda.mem_alloc(4)
        world.fail("DeviceAllocation.free", 1, 700)
        memory.free()
        assert "clean-up operation failed" in world.violations[0]
        assert any("device memory: 4 bytes" in line for line in world.live())

    def test_copies_of_ordinary_memory_are_counted(self, cuda: Any, world: World) -> None:
        stream, memory = cuda.Stream(), cuda.mem_alloc(4)
        cuda.memcpy_htod_async(memory, bytes(4), stream)
        assert world.unpinned_copies == 1


class TestStreams:
    def test_no_work_is_done_before_a_wait(self, cuda: Any) -> None:
        stream, source, target, _, enqueue = copies(cuda)
        source[:] = 7
        enqueue()
        assert target.tolist() == [0xCD] * 16
        stream.synchronize()
        assert target.tolist() == [7] * 16

    def test_a_source_is_read_when_it_is_copied(self, cuda: Any) -> None:
        stream, source, target, _, enqueue = copies(cuda)
        source[:] = 7
        enqueue()
        source[:] = 8
        stream.synchronize()
        assert target.tolist() == [8] * 16

    def test_a_host_that_writes_before_the_gpu_has_read_is_a_race(self, cuda: Any, world: World) -> None:
        stream, source, memory = cuda.Stream(), cuda.pagelocked_zeros(16, np.uint8), cuda.mem_alloc(16)
        cuda.memcpy_htod_async(memory, source, stream)
        stream.synchronize()
        source[:] = 1
        assert world.violations == []
        cuda.memcpy_htod_async(memory, source, stream)
        source[3] = 2
        stream.synchronize()
        assert [line.startswith("race: the host wrote host ") for line in world.violations] == [True]

    def test_pinned_memory_has_the_same_address_for_the_gpu(self, cuda: Any) -> None:
        array = cuda.pagelocked_empty((3, 5), np.uint8, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
        address = array.base.get_device_pointer()
        assert address == array.ctypes.data
        assert address % 256 == 0
        array.base.free()
        with pytest.raises(cuda.LogicError):
            array.base.get_device_pointer()

    def test_an_event_waits_up_to_its_record_only(self, cuda: Any, world: World) -> None:
        stream, _, _, _, enqueue = copies(cuda)
        event = cuda.Event()
        enqueue()
        event.record(stream)
        enqueue()
        assert not event.query()
        event.synchronize()
        assert world.calls["work:dtoh"] == 1

    def test_one_stream_waits_for_another(self, cuda: Any, world: World) -> None:
        stream, source, target, memory, _ = copies(cuda)
        other, event = cuda.Stream(), cuda.Event()
        source[:] = 7
        cuda.memcpy_htod_async(memory, source, stream)
        event.record(stream)
        other.wait_for_event(event)
        cuda.memcpy_dtoh_async(target, memory, other)
        other.synchronize()
        assert target.tolist() == [7] * 16
        assert world.violations == []

    def test_unordered_streams_are_a_race(self, cuda: Any, world: World) -> None:
        stream, source, target, memory, _ = copies(cuda)
        other = cuda.Stream()
        cuda.memcpy_htod_async(memory, source, stream)
        cuda.memcpy_dtoh_async(target, memory, other)
        assert world.violations[0].startswith("race: dtoh")

    def test_the_default_stream_waits_for_the_others_but_not_for_non_blocking_ones(self, cuda: Any) -> None:
        source, memory, result = cuda.pagelocked_zeros(4, np.uint8), cuda.mem_alloc(4), np.zeros(4, np.uint8)
        for flags, first in ((0, 0), (1, 0xCD)):
            cuda.memset_d8(memory, 0xCD, 4)
            cuda.Context.synchronize()
            stream = cuda.Stream(flags)
            cuda.memcpy_htod_async(memory, source, stream)
            cuda.memcpy_dtoh(result, memory)
            assert result[0] == first
            stream.synchronize()

    def test_events_measure_milliseconds(self, cuda: Any) -> None:
        stream, _, _, _, enqueue = copies(cuda)
        before, after = cuda.Event().record(stream), cuda.Event()
        enqueue()
        after.record(stream)
        with pytest.raises(cuda.RuntimeError, match="not ready"):
            before.time_till(after)
        after.synchronize()
        assert 0 < before.time_till(after) < 1000
        with pytest.raises(cuda.LogicError):
            cuda.Event(cuda.event_flags.DISABLE_TIMING).record(stream).synchronize().time_since(before)

    def test_a_crash_is_permanent(self, cuda: Any, world: World) -> None:
        stream, _, _, _, enqueue = copies(cuda)
        world.fail("work:htod", 1, 700)
        enqueue()
        with pytest.raises(cuda.LogicError, match="illegal memory access"):
            stream.synchronize()
        with pytest.raises(cuda.LogicError, match="illegal memory access"):
            cuda.mem_alloc(1)
        with pytest.raises(cuda.LogicError, match="illegal memory access"):
            cuda.Device(0).retain_primary_context()


def test_the_nth_call_fails(cuda: Any, world: World, lib: FakeLibcuda) -> None:
    world.fail("mem_alloc", 2, MemoryError("full"))
    world.fail("cuGraphLaunch", 1, 719)
    cuda.mem_alloc(1)
    with pytest.raises(MemoryError, match="full"):
        cuda.mem_alloc(1)
    cuda.mem_alloc(1)
    assert lib.cuGraphLaunch(HANDLE(1), HANDLE(2)) == 719
    assert world.calls["mem_alloc"] == 3
