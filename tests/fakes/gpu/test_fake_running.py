"""Engines run on the fake GPU by TensorRT and ONNX Runtime: one small test per rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.fakes.gpu.fake_gpu import install_ort
from tests.fakes.gpu.lab import HALF, Lab, network

every_version = pytest.mark.parametrize("lab", ["10.3.0", "10.13.3", "11.4.0"], indirect=True)


class TestRunning:
    @every_version
    def test_it_computes_in_gpu_memory_during_a_wait(self, lab: Lab) -> None:
        context, stream, _, y = lab.ready(lab.engine(network()))
        assert context.execute_async_v3(stream.handle)
        assert lab.world.calls["work:tensorrt"] == 0
        stream.synchronize()
        assert lab.cuda.from_device(y, 4, np.float32).tolist() == [6.0] * 4
        assert lab.world.violations == []

    def test_it_works_in_pinned_memory_which_is_undefined_until_a_wait(self, lab: Lab) -> None:
        x, y = (lab.cuda.pagelocked_empty((1, 1, 2, 2), np.float32, mem_flags=2) for _ in range(2))
        context, stream, *_ = lab.ready(lab.engine(network()))
        context.set_tensor_address("x", x.base.get_device_pointer())
        context.set_tensor_address("y", y.base.get_device_pointer())
        for value in (3, 4):
            x[:] = value
            assert context.execute_async_v3(stream.handle)
            assert (y.view(np.uint8) == 0xCD).all()
            stream.synchronize()
            assert y.ravel().tolist() == [2.0 * value] * 4
        assert lab.world.violations == []
        context.execute_async_v3(stream.handle)
        x[:] = 5
        stream.synchronize()
        assert lab.world.violations[0].startswith("race: the host wrote host ")

    def test_half_precision_overflows(self, lab: Lab) -> None:
        context, stream, _, y = lab.ready(lab.engine(network(HALF, factor=60000)), np.float16)
        context.execute_async_v3(stream.handle)
        stream.synchronize()
        assert np.isinf(lab.cuda.from_device(y, 4, np.float16)).all()

    def test_addresses_come_first(self, lab: Lab) -> None:
        context = lab.engine(network()).create_execution_context()
        assert not context.execute_async_v3(lab.cuda.Stream().handle)
        assert "Address is not set for input tensor x" in lab.heard[-1]
        assert not context.set_tensor_address("z", 4096)

    def test_the_default_stream_is_counted(self, lab: Lab) -> None:
        context, *_ = lab.ready(lab.engine(network()))
        assert context.execute_async_v3(0)
        assert lab.world.default_stream_uses == 1
        assert "default stream" in lab.heard[-1]

    @pytest.mark.parametrize("is_one_stream", [True, False])
    def test_contexts_may_share_scratch_memory_on_one_stream_only(self, lab: Lab, is_one_stream: bool) -> None:
        engine, strategy = lab.engine(network()), lab.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        size_bytes = engine.device_memory_size_v2
        scratch, streams = lab.cuda.mem_alloc(size_bytes), [lab.cuda.Stream()]
        streams.append(streams[0] if is_one_stream else lab.cuda.Stream())
        keep = []
        for stream in streams:
            context = engine.create_execution_context(strategy)
            x, y = lab.cuda.to_device(np.full((1, 1, 2, 2), 3, np.float32)), lab.cuda.mem_alloc(16)
            context.set_tensor_address("x", int(x))
            context.set_tensor_address("y", int(y))
            assert not context.execute_async_v3(stream.handle), "without scratch memory"
            context.set_device_memory(int(scratch), size_bytes)
            keep.append((context, x, y))
        for (context, *_), stream in zip(keep, streams, strict=True):
            assert context.execute_async_v3(stream.handle)
        assert [text[:14] for text in lab.world.violations] == ([] if is_one_stream else ["race: tensorrt"])
        lab.world.violations.clear()
        for stream in streams:
            stream.synchronize()

    def test_one_context_on_two_streams_is_a_race(self, lab: Lab) -> None:
        context, stream, *_ = lab.ready(lab.engine(network()))
        other = lab.cuda.Stream()
        context.execute_async_v3(stream.handle)
        context.execute_async_v3(other.handle)
        assert lab.world.violations[0].startswith("race: tensorrt")

    def test_a_profiler_gets_every_layer(self, lab: Lab) -> None:
        times: dict[str, float] = {}

        class Profiler(lab.trt.IProfiler):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                lab.trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times[layer_name] = ms

        context, stream, *_ = lab.ready(lab.engine(network()))
        context.profiler = Profiler()
        context.execute_async_v3(stream.handle)
        assert sorted(times) == ["conv + relu", "pool"]

    def test_an_engine_may_give_wrong_results(self, lab: Lab) -> None:
        lab.world.build_breaks_parity = lambda outputs: {name: value + 1 for name, value in outputs.items()}
        context, stream, _, y = lab.ready(lab.engine(network()))
        context.execute_async_v3(stream.handle)
        stream.synchronize()
        assert lab.cuda.from_device(y, 4, np.float32).tolist() == [7.0] * 4

    def test_calls_fail_as_planned(self, lab: Lab) -> None:
        context, stream, *_ = lab.ready(lab.engine(network()))
        lab.world.fail("IExecutionContext.execute_async_v3", 1, 700)
        assert not context.execute_async_v3(stream.handle)
        assert "illegal memory access" in lab.heard[-1]


class TestOnnxRuntime:
    def session(self, lab: Lab, **options: Any) -> tuple[Any, Any]:
        stream = lab.cuda.Stream()
        chosen = {"device_id": 0, "user_compute_stream": str(stream.handle), **options}
        providers = [("CUDAExecutionProvider", chosen), "CPUExecutionProvider"]
        return onnxruntime.InferenceSession(network(), providers=providers), stream

    def bound(self, lab: Lab, session: Any) -> tuple[Any, Any, Any]:
        x, y = lab.cuda.to_device(np.full((1, 1, 2, 2), 3, np.float32)), lab.cuda.mem_alloc(16)
        binding = session.io_binding()
        binding.bind_input("x", "cuda", 0, np.float32, (1, 1, 2, 2), int(x))
        binding.bind_output("y", "cuda", 0, np.float32, (1, 1, 2, 2), int(y))
        return binding, x, y

    @pytest.mark.parametrize("waits", [True, False])
    def test_it_waits_unless_disabled(self, lab: Lab, waits: bool) -> None:
        with install_ort(lab.world):
            session, stream = self.session(lab)
            binding, _, y = self.bound(lab, session)
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("disable_synchronize_execution_providers", "0" if waits else "1")
            session.run_with_iobinding(binding, options)
            assert lab.world.calls["work:onnxruntime"] == int(waits)
            stream.synchronize()
            assert lab.cuda.from_device(y, 4, np.float32).tolist() == [6.0] * 4
            assert session.get_providers() == ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def test_options_are_checked(self, lab: Lab) -> None:
        with install_ort(lab.world):
            with pytest.raises(Exception, match="Unknown provider option"):
                self.session(lab, use_tensor_cores="1")
            with pytest.raises(Exception, match="Failed to parse"):
                self.session(lab, cudnn_conv_algo_search="BEST")

    def test_it_falls_back_silently(self, lab: Lab) -> None:
        lab.world.cuda_provider_fails = True
        with install_ort(lab.world):
            assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
            assert self.session(lab)[0].get_providers() == ["CPUExecutionProvider"]

    def test_the_cpu_is_the_real_one(self, lab: Lab) -> None:
        real = onnxruntime.InferenceSession
        with install_ort(lab.world):
            assert type(onnxruntime.InferenceSession(network(), providers=["CPUExecutionProvider"])) is real
        assert onnxruntime.InferenceSession is real

    def test_bindings_are_checked(self, lab: Lab) -> None:
        with install_ort(lab.world):
            binding, x, _ = self.bound(lab, self.session(lab)[0])
            with pytest.raises(Exception, match="Unexpected input data type"):
                binding.bind_input("x", "cuda", 0, np.float16, (1, 1, 2, 2), int(x))
            with pytest.raises(Exception, match="dimensions"):
                binding.bind_input("x", "cuda", 0, np.float32, (1, 2, 2), int(x))
            with pytest.raises(TypeError):
                binding.bind_input("x", "cuda", 0, np.float32, (1, 1, 2, 2), x)
