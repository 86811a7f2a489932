"""Kernels, CUDA graphs and libcuda on the fake GPU: one small test per rule."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import numpy as np
import pytest

from engines.gpu.letterbox import LAYOUT, PTX
from tests.fakes import host_kernels
from tests.fakes.gpu.fake_gpu import FakeLibcuda, World
from tests.fakes.gpu.lab import HANDLE, capture, copies


class TestKernels:
    @pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++")
    def test_the_letterbox_runs_on_the_memory_of_the_gpu(self, cuda: Any) -> None:
        module = cuda.module_from_buffer(PTX.read_bytes())
        kernel = module.get_function("letterbox_uint8").prepare(["P", "P", np.dtype(f"V{LAYOUT.size}")])
        frame, target, stream = cuda.to_device(np.full((2, 2, 3), 9, np.uint8)), cuda.mem_alloc(12), cuda.Stream()
        box = LAYOUT.pack(2, 2, 2, 2, 0, 0, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0, *[0] * 18)
        kernel.prepared_async_call((1, 1), (32, 8, 1), stream, int(frame), int(target), box)
        stream.synchronize()
        assert cuda.from_device(target, 12, np.uint8).tolist() == [9] * 12

    def test_globals_can_be_read(self, cuda: Any) -> None:
        module = cuda.module_from_buffer(PTX.read_bytes())
        address, size = module.get_global("letterbox_bytes")
        assert cuda.from_device(address, 1, np.uint32).tolist() == [LAYOUT.size]
        assert size == 4
        with pytest.raises(cuda.LogicError, match="not found"):
            module.get_function("letterbox")

    def test_newer_ptx_is_refused(self, cuda: Any, world: World) -> None:
        ptx = PTX.read_bytes().replace(b".version 8.2", b".version 9.0")
        cuda.module_from_buffer(ptx)
        world.driver_version = 12060
        with pytest.raises(cuda.LogicError, match="unsupported toolchain"):
            cuda.module_from_buffer(ptx)
        with pytest.raises(cuda.LogicError, match="image is invalid"):
            cuda.module_from_buffer(b"no PTX")
        with pytest.raises(TypeError, match="bytes-like"):
            cuda.module_from_buffer(ptx.decode())

    def test_launches_are_checked(self, cuda: Any) -> None:
        kernel = (
            cuda.module_from_buffer(PTX.read_bytes())
            .get_function("letterbox_uint8")
            .prepare(["P", "P", np.dtype(f"V{LAYOUT.size}")])
        )
        stream = cuda.Stream()
        with pytest.raises(cuda.LogicError, match="invalid argument - block"):
            kernel.prepared_async_call((1, 1), (64, 32, 1), stream, 1, 1, bytes(LAYOUT.size))
        with pytest.raises(struct.error):
            kernel.prepared_async_call((1, 1), (1, 1, 1), stream, 1, bytes(LAYOUT.size))
        with pytest.raises(TypeError):
            kernel.prepared_async_call((1, 1), (1, 1), stream, 1, 1, bytes(LAYOUT.size))
        kernel.prepare(["P", "P", np.dtype("V60")])
        with pytest.raises(cuda.LogicError, match="arguments"):
            kernel.prepared_async_call((1, 1), (1, 1, 1), stream, 1, 1, bytes(60))

    def test_an_invalid_frame_crashes_the_gpu(self, cuda: Any) -> None:
        kernel = (
            cuda.module_from_buffer(PTX.read_bytes())
            .get_function("letterbox_uint8")
            .prepare(["P", "P", np.dtype(f"V{LAYOUT.size}")])
        )
        stream = cuda.Stream()
        kernel.prepared_async_call((1, 1), (1, 1, 1), stream, 4096, 4096, LAYOUT.pack(2, 2, 2, 2, *[0] * 30))
        with pytest.raises(cuda.LogicError, match="illegal"):
            stream.synchronize()


class TestGraphs:
    def test_recorded_work_is_done_only_by_launches(self, cuda: Any, lib: FakeLibcuda, world: World) -> None:
        stream, source, target, _, enqueue = copies(cuda)
        code, graph = capture(lib, stream, enqueue)
        assert code == 0
        stream.synchronize()
        assert target.tolist() == [0] * 16
        for value in (3, 4):
            source[:] = value
            assert lib.cuGraphLaunch(graph, HANDLE(stream.handle)) == 0
            stream.synchronize()
            assert target.tolist() == [value] * 16
        assert lib.cuGraphExecDestroy(graph) == 0
        assert lib.cuGraphExecDestroy(graph) == 400
        assert not any("graph" in line for line in world.live())

    def test_a_wait_ends_the_recording(self, cuda: Any, lib: FakeLibcuda) -> None:
        stream = cuda.Stream()

        def wait() -> None:
            with pytest.raises(cuda.LogicError, match="not permitted when stream is capturing"):
                stream.synchronize()

        assert capture(lib, stream, wait)[0] == 901
        stream.synchronize()

    def test_memory_cannot_be_allocated_while_recording(self, cuda: Any, lib: FakeLibcuda) -> None:
        stream = cuda.Stream()

        def allocate() -> None:
            with pytest.raises(cuda.LogicError, match="capturing"):
                cuda.mem_alloc(4)

        assert capture(lib, stream, allocate)[0] == 901
        code, _ = capture(lib, stream, lambda: cuda.mem_alloc(4), mode=2)
        assert code == 0

    def test_ordinary_memory_cannot_be_recorded(self, cuda: Any, lib: FakeLibcuda) -> None:
        stream, memory = cuda.Stream(), cuda.mem_alloc(4)

        def copy() -> None:
            with pytest.raises(cuda.LogicError, match="not pinned"):
                cuda.memcpy_htod_async(memory, bytes(4), stream)

        assert capture(lib, stream, copy)[0] == 901

    def test_addresses_are_those_of_the_recording(self, cuda: Any, lib: FakeLibcuda) -> None:
        stream, _, _, memory, enqueue = copies(cuda)
        _, graph = capture(lib, stream, enqueue)
        memory.free()
        lib.cuGraphLaunch(graph, HANDLE(stream.handle))
        with pytest.raises(cuda.LogicError, match="used after it was freed"):
            stream.synchronize()

    def test_a_fork_must_be_joined(self, cuda: Any, lib: FakeLibcuda) -> None:
        stream, other, event = cuda.Stream(), cuda.Stream(), cuda.Event()
        memory = cuda.mem_alloc(4)

        def fork() -> None:
            event.record(stream)
            other.wait_for_event(event)
            cuda.memset_d8_async(memory, 1, 4, other)

        def fork_and_join() -> None:
            fork()
            event.record(other)
            stream.wait_for_event(event)

        assert capture(lib, stream, fork)[0] == 904
        assert capture(lib, stream, fork_and_join)[0] == 0


class TestCtypes:
    def test_handles_do_not_fit_an_int(self, cuda: Any, lib: FakeLibcuda) -> None:
        with pytest.raises(ctypes.ArgumentError, match="does not fit"):
            lib.cuGraphLaunch(cuda.Stream().handle, cuda.Stream().handle)
        lib.cuGraphLaunch.argtypes = [HANDLE, HANDLE]
        assert lib.cuGraphLaunch(cuda.Stream().handle, cuda.Stream().handle) == 400

    def test_results_need_a_pointer(self, lib: FakeLibcuda) -> None:
        lib.cuInit(0)
        with pytest.raises(AssertionError, match="overwritten"):
            lib.cuDeviceTotalMem_v2(ctypes.byref(ctypes.c_int()), 0)

    def test_the_device_describes_itself(self, lib: FakeLibcuda, world: World) -> None:
        lib.cuInit(0)
        name, value, text = ctypes.create_string_buffer(64), ctypes.c_int(), ctypes.c_char_p()
        assert lib.cuDeviceGetName(name, 64, 0) == 0
        assert name.value.decode() == world.gpu_name
        assert lib.cuDeviceGetAttribute(ctypes.byref(value), 75, 0) == 0
        assert value.value == 8
        assert lib.cuGetErrorName(700, ctypes.byref(text)) == 0
        assert text.value == b"CUDA_ERROR_ILLEGAL_ADDRESS"

    def test_unknown_functions_are_missing(self, lib: FakeLibcuda) -> None:
        with pytest.raises(AttributeError, match="undefined symbol"):
            lib.cuMakeCoffee  # noqa: B018
