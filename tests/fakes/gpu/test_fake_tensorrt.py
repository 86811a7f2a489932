"""The fake TensorRT enforces the rules of the real one for building and loading: one small test per rule."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from tests.fakes.gpu.fake_gpu import World, install
from tests.fakes.gpu.lab import HALF, Lab, network

VERSIONS = ("10.3.0", "10.13.3", "11.4.0")

every_version = pytest.mark.parametrize("lab", VERSIONS, indirect=True)


class TestNames:
    @every_version
    def test_the_fake_has_no_names_that_the_real_one_lacks(self, lab: Lab) -> None:
        real = importlib.import_module("tensorrt._base").real_names(lab.trt.__version__)
        ours = {name for name in vars(lab.trt) if not name.startswith("_")}
        assert ours <= set(real["module"]) | {"annotations"}
        for name in ours & set(real["classes"]):
            assert {each for each in vars(getattr(lab.trt, name)) if not each.startswith("_")} <= set(real["classes"][name])

    def test_versions_differ(self) -> None:
        with install(World(tensorrt_version="11.4.0")):
            import tensorrt as trt

            assert not hasattr(trt.BuilderFlag, "FP16")
            assert not hasattr(trt.ICudaEngine, "device_memory_size")
            assert int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 0
        with install(World(tensorrt_version="10.3.0")):
            import tensorrt as trt

            assert int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 1
            assert trt.BuilderFlag.FP16
            assert hasattr(trt.ICudaEngine, "device_memory_size")

    def test_missing_parts_of_the_fake_raise(self, lab: Lab) -> None:
        config = lab.trt.Builder(lab.logger).create_builder_config()
        with pytest.raises(NotImplementedError, match="fake TensorRT lacks"):
            config.set_tactic_sources(1)
        with pytest.raises(AttributeError):
            config.max_workspace_size  # noqa: B018
        with pytest.raises(AttributeError):
            config.max_workspace_size = 1
        with pytest.raises(AttributeError):
            lab.trt.VolumeKnob  # noqa: B018

    def test_types_are_checked(self, lab: Lab) -> None:
        builder, net, config = lab.parsed(network())
        for call in (
            lambda: config.set_flag(3),
            lambda: config.set_memory_pool_limit(lab.trt.MemoryPoolType.WORKSPACE, 1.5),
            lambda: builder.create_network("x"),
            lambda: lab.trt.Builder(None),
            lambda: builder.build_serialized_network(config, net),
        ):
            with pytest.raises(TypeError, match="incompatible"):
                call()

    def test_a_base_must_be_initialised(self, lab: Lab) -> None:
        class Forgetful(lab.trt.ILogger):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                pass

        with pytest.raises(TypeError, match="must be called when overriding"):
            Forgetful()


class TestBuilding:
    def test_without_a_driver_there_is_no_builder(self) -> None:
        with install(World(init_result=803)) as world:
            lab = Lab(world)
            with pytest.raises(TypeError, match="factory function returned nullptr"):
                lab.trt.Builder(lab.logger)
            assert "Error Code 1" in lab.heard[0]

    def test_bad_onnx_is_reported_as_errors(self, lab: Lab) -> None:
        net = lab.trt.Builder(lab.logger).create_network(0)
        parser = lab.trt.OnnxParser(net, lab.logger)
        assert not parser.parse(b"nothing of the kind")
        assert "parse" in parser.get_error(0).desc()
        lab.world.unsupported_operators = frozenset({"MaxPool"})
        parser.clear_errors()
        assert not parser.parse(network())
        assert (parser.num_errors, parser.get_error(0).node(), parser.get_error(0).node_name()) == (1, 2, "pool")

    def test_open_dimensions_need_a_profile(self, lab: Lab) -> None:
        builder, net, config = lab.parsed(network(batch="n"))
        assert tuple(net.get_input(0).shape) == (-1, 1, 2, 2)
        assert builder.build_serialized_network(net, config) is None
        assert "no optimization profile" in lab.heard[-1]
        profile = builder.create_optimization_profile()
        profile.set_shape("x", (1, 1, 2, 2), (2, 1, 2, 2), (4, 1, 2, 2))
        config.add_optimization_profile(profile)
        engine = lab.trt.Runtime(lab.logger).deserialize_cuda_engine(builder.build_serialized_network(net, config))
        assert [shape[0] for shape in engine.get_tensor_profile_shape("x", 0)] == [1, 2, 4]
        context = engine.create_execution_context()
        assert context.infer_shapes() == ["x"]
        assert not context.set_input_shape("x", (5, 1, 2, 2))
        assert context.set_input_shape("x", (3, 1, 2, 2))
        assert context.get_tensor_shape("y") == (3, 1, 2, 2)

    def test_strongly_typed_networks_take_no_precision_flags(self, lab: Lab) -> None:
        builder, net, config = lab.parsed(network())
        config.set_flag(lab.trt.BuilderFlag.FP16)
        assert builder.build_serialized_network(net, config) is None
        assert "strongly typed" in lab.heard[-1]

    def test_a_monitor_gets_progress_and_cancels(self, lab: Lab) -> None:
        said: list[Any] = []

        class Monitor(lab.trt.IProgressMonitor):  # type: ignore[name-defined,misc]
            def __init__(self, answer: bool) -> None:
                lab.trt.IProgressMonitor.__init__(self)
                self.answer = answer

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                said.append((phase_name, parent_phase))

            def step_complete(self, phase_name: str, step: int) -> bool:
                return self.answer

            def phase_finish(self, phase_name: str) -> None:
                said.append(phase_name)

        builder, net, config = lab.parsed(network())
        config.progress_monitor = Monitor(True)
        assert builder.build_serialized_network(net, config) is not None
        assert said[0] == ("Building Engine", None)
        assert said[-1] == "Building Engine"
        config.progress_monitor = Monitor(False)
        assert builder.build_serialized_network(net, config) is None

    def test_timing_caches_belong_to_a_version_and_gpu(self, lab: Lab) -> None:
        builder, net, config = lab.parsed(network())
        assert config.get_timing_cache() is None
        assert config.set_timing_cache(config.create_timing_cache(b""), False)
        builder.build_serialized_network(net, config)
        data = bytes(config.get_timing_cache().serialize())
        lab.world.gpu_name = "another"
        assert not config.set_timing_cache(config.create_timing_cache(data), False)
        assert config.set_timing_cache(config.create_timing_cache(data), True)

    def test_the_dla_needs_a_core_and_fallback(self, lab: Lab) -> None:
        builder = lab.trt.Builder(lab.logger)
        net, config = builder.create_network(0), builder.create_builder_config()
        assert lab.trt.OnnxParser(net, lab.logger).parse(network())
        lab.world.dla_cores, lab.world.dla_refuses = 2, frozenset({"MaxPool"})
        config.default_device_type, config.DLA_core = lab.trt.DeviceType.DLA, 1
        assert [config.can_run_on_DLA(net.get_layer(index)) for index in range(3)] == [True, True, False]
        config.set_flag(lab.trt.BuilderFlag.FP16)
        assert builder.build_serialized_network(net, config) is None
        config.set_flag(lab.trt.BuilderFlag.GPU_FALLBACK)
        plan = builder.build_serialized_network(net, config)
        assert lab.trt.Runtime(lab.logger).deserialize_cuda_engine(plan).num_layers == 2


class TestInspector:
    def test_types_are_those_of_the_graph(self, lab: Lab) -> None:
        first, second = lab.layers(lab.engine(network(HALF)))
        assert (first["Name"], first["LayerType"], first["Weights"]) == (
            "conv + relu",
            "CaskConvolution",
            {"Type": "Half", "Count": 1},
        )
        assert "FP16" in second["Inputs"][0]["Format/Datatype"]

    @pytest.mark.parametrize("lab", ["11.4.0"], indirect=True)
    def test_version_11_has_other_names(self, lab: Lab) -> None:
        engine = lab.engine(network(HALF))
        text = engine.create_engine_inspector().get_engine_information(lab.trt.LayerInformationFormat.JSON)
        assert json.loads(text)["I/O Tensors"] == ["x", "y"]
        assert lab.layers(engine)[1]["Inputs"][0]["Format/Datatype"] == "Half"

    def test_a_builder_may_ignore_the_precision(self, lab: Lab) -> None:
        lab.world.build_ignores_precision = True
        assert lab.layers(lab.engine(network(HALF)))[0]["Weights"]["Type"] == "Float"

    def test_without_verbosity_there_are_names_only(self, lab: Lab) -> None:
        builder, net, config = lab.parsed(network())
        config.profiling_verbosity = lab.trt.ProfilingVerbosity.LAYER_NAMES_ONLY
        engine = lab.trt.Runtime(lab.logger).deserialize_cuda_engine(builder.build_serialized_network(net, config))
        assert lab.layers(engine) == ["conv + relu", "pool"]


class TestLoading:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [({"tensorrt_version": "10.3.0"}, "Version tag does not match"), ({"compute_capability": (8, 6)}, "incompatible device")],
    )
    def test_plans_belong_to_a_version_and_gpu(self, lab: Lab, change: dict[str, Any], reason: str) -> None:
        plan = lab.plan(network())
        for name, value in change.items():
            setattr(lab.world, name, value)
        assert lab.trt.Runtime(lab.logger).deserialize_cuda_engine(plan) is None
        assert reason in lab.heard[-1]

    def test_other_bytes_are_refused_and_logged(self, lab: Lab) -> None:
        assert lab.trt.Runtime(lab.logger).deserialize_cuda_engine(lab.plan(network())[:-1]) is None
        assert "no whole plan" in lab.world.violations[0]

    @pytest.mark.parametrize("lab", ["11.4.0"], indirect=True)
    def test_version_11_crashes_without_cuinit(self, lab: Lab) -> None:
        plan = lab.plan(network())
        lab.world.is_initialised = False
        with pytest.raises(SystemExit, match="segfault"):
            lab.trt.Runtime(lab.logger).deserialize_cuda_engine(plan)
        lab.world.is_initialised = True

    def test_a_full_gpu_takes_no_context(self, lab: Lab) -> None:
        engine = lab.engine(network())
        lab.world.total_bytes = 1000
        assert engine.create_execution_context() is None
        assert "OutOfMemory" in lab.heard[-1]

    def test_engines_end_before_their_cuda_context(self, lab: Lab) -> None:
        engine = lab.engine(network())
        assert any("TensorRT engine" in line for line in lab.world.live())
        lab.cuda.Context.pop()
        del engine
        assert lab.world.violations == ["ICudaEngine deleted without a current CUDA context"]
        lab.cuda.Device(0).retain_primary_context().push()

    def test_host_code_is_detected(self, lab: Lab) -> None:
        runtime = lab.trt.Runtime(lab.logger)
        assert not runtime.engine_host_code_allowed
        runtime.engine_host_code_allowed = True
        assert "engine_host_code_allowed" in lab.world.violations[0]
