"""A fake TensorRT of the World's version. Names are those of the real bindings (tests/engines/trt/names)."""

import sys as _sys

if "fakegpu" not in _sys.modules:
    import fake_gpu as _fake_gpu  # noqa: F401

from typing import Any as _Any

from fakegpu.world import current as _current

from tensorrt import _base, _builder, _config, _context, _engine, _enums, _network, _rtx

__version__ = _current().tensorrt_version

_REAL = _base.real_names(__version__)
_CLASSES = (
    _base.ILogger, _base.Logger, _base.IProfiler, _base.IProgressMonitor, _base.Dims, _base.IHostMemory,
    _builder.Builder, _config.IBuilderConfig, _config.IOptimizationProfile, _config.ITimingCache,
    _network.INetworkDefinition, _network.ITensor, _network.ILayer, _network.OnnxParser, _network.ParserError,
    _engine.Runtime, _engine.ICudaEngine, _engine.EngineInspector, _context.IExecutionContext,
    _rtx.IRuntimeCache, _rtx.IRuntimeConfig,
)  # fmt: skip

for _class in _CLASSES:
    if _class.__name__ not in _REAL["module"]:
        continue
    _base.strip(_class, [*_REAL["classes"][_class.__name__]])
    globals()[_class.__name__] = _class
globals().update({name: kind for name, kind in _enums.ENUMS.items() if name in _REAL["module"]})

float32, float16, int8, int32, int64 = (_enums.DataType[_name] for _name in ("FLOAT", "HALF", "INT8", "INT32", "INT64"))
uint8, bool, bfloat16 = (_enums.DataType[_name] for _name in ("UINT8", "BOOL", "BF16"))


def nptype(trt_type: _Any) -> _Any:
    """The NumPy type of a DataType. Raises TypeError if NumPy has none."""
    import numpy

    for name, ours in _base.DTYPES.items():
        if ours == trt_type.name:
            return numpy.dtype(name).type
    raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")


def volume(iterable: _Any) -> int:
    result = 1
    for number in iterable:
        result *= number
    return result


def init_libnvinfer_plugins(logger: _Any, namespace: str) -> _Any:
    return True


def __getattr__(name: str) -> _Any:
    if name in _REAL["module"]:
        raise NotImplementedError(f"the fake TensorRT lacks tensorrt.{name}, which the real one has")
    raise AttributeError(f"module 'tensorrt' has no attribute '{name}'")
