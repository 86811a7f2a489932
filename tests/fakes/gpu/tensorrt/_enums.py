"""The enums of the installed version: its names, with the numbers of the headers."""

from __future__ import annotations

from typing import Any

from fakegpu.world import current

from tensorrt._base import PybindEnum, real_names

MAJOR = 11 if current().is_rtx else int(current().tensorrt_version.split(".")[0])
"""TensorRT-RTX 1.x is like TensorRT 11."""

NUMBERS: dict[str, dict[str, int]] = {
    "BuilderFlag": {
        "FP16": 0, "INT8": 1, "DEBUG": 2, "GPU_FALLBACK": 3, "REFIT": 4, "DISABLE_TIMING_CACHE": 5, "TF32": 6,
        "SPARSE_WEIGHTS": 7, "SAFETY_SCOPE": 8, "OBEY_PRECISION_CONSTRAINTS": 9,
        "PREFER_PRECISION_CONSTRAINTS": 10, "DIRECT_IO": 11, "BF16": 29,
    },
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED": 0} if MAJOR >= 11 else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    "DataType": {
        "FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "BOOL": 4, "UINT8": 5, "FP8": 6, "BF16": 7, "INT64": 8, "INT4": 9,
        "FP4": 10, "E8M0": 11,
    },
    "TensorIOMode": {"NONE": 0, "INPUT": 1, "OUTPUT": 2},
    "TensorLocation": {"DEVICE": 0, "HOST": 1},
    "TensorFormat": {"LINEAR": 0},
    "MemoryPoolType": {
        "WORKSPACE": 0, "DLA_MANAGED_SRAM": 1, "DLA_LOCAL_DRAM": 2, "DLA_GLOBAL_DRAM": 3, "TACTIC_DRAM": 4,
        "TACTIC_SHARED_MEMORY": 5,
    },
    "ProfilingVerbosity": {"LAYER_NAMES_ONLY": 0, "NONE": 1, "DETAILED": 2},
    "LayerInformationFormat": {"ONELINE": 0, "JSON": 1},
    "DeviceType": {"GPU": 0, "DLA": 1},
    "ExecutionContextAllocationStrategy": {"STATIC": 0, "ON_PROFILE_CHANGE": 1, "USER_MANAGED": 2},
    "HardwareCompatibilityLevel": {"NONE": 0, "AMPERE_PLUS": 1, "SAME_COMPUTE_CAPABILITY": 2},
    "EngineCapability": {"STANDARD": 0, "SAFETY": 1, "DLA_STANDALONE": 2},
    "LayerType": {"CONVOLUTION": 0},
    "CudaGraphStrategy": {"DISABLED": 0, "WHOLE_GRAPH_CAPTURE": 1},
    "DynamicShapesKernelSpecializationStrategy": {"LAZY": 0, "EAGER": 1, "NONE": 2},
    "ComputeCapability": {"NONE": 0, "CURRENT": 1},
}  # fmt: skip


def _make(name: str) -> Any:
    """Members without a known number get a larger one than the others."""
    members = [
        each
        for each in real_names(current().tensorrt_version)["classes"].get(name, ())
        if each.isupper() or each.startswith("SM")
    ]
    known = NUMBERS[name]
    numbers = {each: known[each] for each in members if each in known}
    numbers |= {each: 100 + index for index, each in enumerate(members) if each not in known}
    return PybindEnum(name, numbers)  # type: ignore[call-overload]


class _DataTypes:
    itemsize = {"FLOAT": 4, "INT32": 4, "HALF": 2, "BF16": 2, "INT64": 8}


BuilderFlag = _make("BuilderFlag")
NetworkDefinitionCreationFlag = _make("NetworkDefinitionCreationFlag")
DataType = _make("DataType")
DataType.itemsize = property(lambda self: _DataTypes.itemsize.get(self.name, 1))
TensorIOMode = _make("TensorIOMode")
TensorLocation = _make("TensorLocation")
TensorFormat = _make("TensorFormat")
MemoryPoolType = _make("MemoryPoolType")
ProfilingVerbosity = _make("ProfilingVerbosity")
LayerInformationFormat = _make("LayerInformationFormat")
DeviceType = _make("DeviceType")
ExecutionContextAllocationStrategy = _make("ExecutionContextAllocationStrategy")
HardwareCompatibilityLevel = _make("HardwareCompatibilityLevel")
EngineCapability = _make("EngineCapability")
LayerType = _make("LayerType")
CudaGraphStrategy = _make("CudaGraphStrategy")
DynamicShapesKernelSpecializationStrategy = _make("DynamicShapesKernelSpecializationStrategy")
ComputeCapability = _make("ComputeCapability")
ENUMS = {name: globals()[name] for name in NUMBERS}
