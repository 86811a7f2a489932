"""The base of the fake TensorRT: pybind11's behaviour, the logger, dimensions, host memory."""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from fakegpu.codes import ERRORS, CudaError
from fakegpu.world import current

NAMES = Path(__file__).resolve().parents[3] / "engines" / "trt" / "names"
"""The names of the real bindings, one file per version."""

Method = TypeVar("Method", bound=Callable[..., Any])


@functools.lru_cache
def real_names(version: str) -> dict[str, Any]:
    """The names of the real TensorRT, {"module": names, "classes": {class: names}}, of that version or the nearest older one."""
    wanted = tuple(int(part) for part in version.split(".")[:2])
    if wanted[0] == 1:  # TensorRT-RTX
        rtx: dict[str, Any] = json.loads((NAMES / "tensorrt-rtx-1.7.json").read_text(encoding="utf-8"))
        return rtx
    known = {}
    for path in NAMES.glob("tensorrt-[0-9]*.json"):
        known[tuple(int(part) for part in path.stem.removeprefix("tensorrt-").split("."))] = path
    chosen = max((number for number in known if number <= wanted), default=min(known))
    names: dict[str, Any] = json.loads(known[chosen].read_text(encoding="utf-8"))
    return names


def mismatch(routine: str, *args: object) -> TypeError:
    given = ", ".join(repr(arg) for arg in args)
    return TypeError(f"{routine}(): incompatible function arguments. Invoked with: {given}")


def typed(routine: str, value: Any, kind: type | tuple[type, ...]) -> Any:
    """`value`, or TypeError in pybind11's form."""
    if not isinstance(value, kind):
        raise mismatch(routine, value)
    return value


def whole(routine: str, value: Any) -> int:
    """typing.SupportsInt as pybind11 accepts it: no floats."""
    if isinstance(value, float) or not (hasattr(value, "__int__") or hasattr(value, "__index__")):
        raise mismatch(routine, value)
    return int(value)


class PybindEnum(enum.Enum):
    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __lt__(self, other: Any) -> bool:
        return int(self) < int(typed("__lt__", other, type(self)))

    def __le__(self, other: Any) -> bool:
        return int(self) <= int(typed("__le__", other, type(self)))

    def __gt__(self, other: Any) -> bool:
        return not self <= other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class _Meta(type):
    """pybind11's metaclass: a Python subclass must call its base's __init__; names that this version lacks do not exist."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if not made.__dict__.get("_is_bound"):
            raise TypeError(f"{cls.__name__}.__init__() must be called when overriding __init__")
        return made


class Bound(metaclass=_Meta):
    """A class of the bindings. Only subclasses from outside may add attributes to its instances."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls)
        object.__setattr__(made, "_world", current())
        return made

    def __init__(self, *args: Any) -> None:
        raise TypeError(f"tensorrt.{type(self).__name__}: No constructor defined!")

    def _bind(self, **fields: Any) -> None:
        for name, value in {"_is_bound": True, **fields}.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        base = _bindings_class(type(self)).__name__
        if name in real_names(current().tensorrt_version)["classes"].get(base, ()):
            raise NotImplementedError(f"the fake TensorRT lacks {base}.{name}, which the real one has")
        raise AttributeError(f"'tensorrt.{base}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        base = _bindings_class(type(self))
        if name.startswith("_") or base is not type(self) or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
            return
        raise AttributeError(f"'tensorrt.{base.__name__}' object has no attribute '{name}'")


def _bindings_class(kind: type) -> type:
    return next(base for base in kind.__mro__ if base.__module__.startswith("tensorrt"))


def strip(kind: type, names: list[str]) -> None:
    """Remove from a class what this version's bindings lack."""
    for name in [name for name in vars(kind) if not name.startswith("_") and name not in names]:
        delattr(kind, name)


def make(kind: type, **fields: Any) -> Any:
    """An instance of a class that Python cannot instantiate."""
    made = kind.__new__(kind)
    made._bind(**fields)
    return made


def answers(default: Any) -> Callable[[Method], Method]:
    """Count calls by "Class.method"; CUDA's failures go to the logger, and `default` is returned."""

    def wrap(method: Method) -> Method:
        name = method.__qualname__

        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                self._world.count(name)
                return method(self, *args, **kwargs)
            except CudaError as error:
                code, text = error.code, ERRORS.get(error.code, ("", "unknown"))[1]
                self._log.error(f"[{name}::0] Error Code 1: Cuda Runtime ({text} ({code}) {error.detail})")
                return default

        return call  # type: ignore[return-value]

    return wrap


SEVERITIES = {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4}


class ILogger(Bound):
    Severity: Any = PybindEnum("Severity", SEVERITIES)
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        self._bind()

    def log(self, severity: Any, msg: str) -> None:
        raise RuntimeError('Tried to call pure virtual function "ILogger::log"')

    # Called by the C++ side. Unlike the real one it does not swallow a logger's exceptions.
    @property
    def _log(self) -> Log:
        return Log(self)


class Logger(ILogger):
    def __init__(self, min_severity: Any = ILogger.WARNING) -> None:
        self._bind(_least=typed("Logger", min_severity, ILogger.Severity))

    @property
    def min_severity(self) -> Any:
        return self._least

    @min_severity.setter
    def min_severity(self, value: Any) -> None:
        self._least = typed("min_severity", value, ILogger.Severity)

    def log(self, severity: Any, msg: str) -> None:
        if severity <= self._least:
            print(f"[TRT] {severity} {msg}")


class Log:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def error(self, text: str) -> None:
        self.logger.log(ILogger.ERROR, text)

    def warning(self, text: str) -> None:
        self.logger.log(ILogger.WARNING, text)

    def info(self, text: str) -> None:
        self.logger.log(ILogger.INFO, text)


class IProfiler(Bound):
    def __init__(self) -> None:
        self._bind()

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise RuntimeError('Tried to call pure virtual function "IProfiler::reportLayerTime"')


class IProgressMonitor(Bound):
    def __init__(self) -> None:
        self._bind()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise RuntimeError('Tried to call pure virtual function "IProgressMonitor::phaseStart"')

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise RuntimeError('Tried to call pure virtual function "IProgressMonitor::stepComplete"')

    def phase_finish(self, phase_name: str) -> None:
        raise RuntimeError('Tried to call pure virtual function "IProgressMonitor::phaseFinish"')


class Dims:
    """Dimensions: a sequence, not a tuple."""

    MAX_DIMS = 8

    def __init__(self, shape: Sequence[int] = ()) -> None:
        self._values = [whole("Dims", value) for value in shape]

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        return Dims(self._values[index]) if isinstance(index, slice) else self._values[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._values[index] = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Dims, tuple, list)) and list(other) == self._values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(tuple(self._values))


def dims(routine: str, value: Any) -> tuple[int, ...]:
    """The values that pybind11 converts to Dims: Dims, tuples, lists of integers."""
    typed(routine, value, (Dims, tuple, list))
    return tuple(whole(routine, number) for number in value)


class IHostMemory(bytearray):
    """Bytes with a buffer."""

    @property
    def nbytes(self) -> int:
        return bytearray.__len__(self)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "nbytes":
            raise AttributeError(f"'tensorrt.IHostMemory' object has no attribute '{name}'")
        return bytearray.__getattribute__(self, name)

    def __len__(self) -> int:
        raise TypeError("object of type 'tensorrt.IHostMemory' has no len()")

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not subscriptable")

    def __iter__(self) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not iterable")


def buffer(routine: str, value: Any) -> bytes:
    """typing_extensions.Buffer."""
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise mismatch(routine, type(value)) from None


DTYPES = {
    "float32": "FLOAT", "float16": "HALF", "int8": "INT8", "int32": "INT32", "int64": "INT64", "bool": "BOOL", "uint8": "UINT8",
}  # fmt: skip
"""NumPy's type names -> DataType's."""


def data_type(dtype: np.dtype[Any]) -> Any:
    from tensorrt._enums import DataType

    return DataType[DTYPES[dtype.name]]
