"""Modules that are loaded on demand: those of a registry's folder by name, and runtimes without their telemetry."""

import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from engines.errors import BackendUnavailableError
from engines.system.memory import CLOSE_PROGRAMS, is_lack_of_memory

HARMFUL_OPTIMISERS = ("WeightBiasQuantization",)
"""Optimisers of ONNX Runtime that must not touch a network whose scales are in half precision.

It stores biases as integers, and calculates their scale, input's times weight's, in the type of these two. In FP16 it underflows:
with `people` in INT8 nobody was found. Seen with ONNX Runtime 1.32.
"""


def module_names(folders: Sequence[str]) -> tuple[str, ...]:
    """The names of the things in a registry, sorted: its plain modules. Packages, such as `common`, are shared parts.

    folders: the registry package's `__path__`. A folder of your own that is appended to it belongs to the registry as well.
    Imports none of them.
    """
    found = pkgutil.iter_modules(folders)
    return tuple(sorted(module.name for module in found if not module.ispkg and not module.name.startswith("_")))


def lazy_name(package: str, homes: Mapping[str, Sequence[str]], name: str) -> Any:
    """For the `__getattr__` of a package whose public names are imported when they are first used. homes: module → its names."""
    for home, names in homes.items():
        if name in names:
            _be_quiet()
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


def _be_quiet() -> None:
    """Log nothing to stderr until a program that uses the public names sets logging up."""
    import logging  # here, as `run.py --help` is quicker without it

    for logger in map(logging.getLogger, ("engines", "realtime")):
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def load_module(package: str, name: str) -> ModuleType:
    """Import the module `name` of the registry `package`."""
    return importlib.import_module(f"{package}.{name}")


def module_constants(package: str, name: str) -> dict[str, Any]:
    """The literals that a registry's module assigns to names above its first class or function.

    Reads the source: nothing that the module imports is loaded.
    """
    import ast

    spec = importlib.util.find_spec(f"{package}.{name}")
    loader: Any = spec and spec.loader
    constants = {}
    top = re.split(r"^(?:@|class |def |async )", loader.get_source(f"{package}.{name}") or "", maxsplit=1, flags=re.M)[0]
    for node in ast.parse(top).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                constants[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:  # not a literal
                continue
    return constants


def not_loaded(title: str, package: str, error: ImportError) -> BackendUnavailableError:
    """The error for a runtime that cannot be imported. package: what brings it."""
    if isinstance(error, ModuleNotFoundError):
        return BackendUnavailableError(f"{title} is not installed ({error})", f"Install it: pip install {package}")
    cure = CLOSE_PROGRAMS if is_lack_of_memory(error) else f"Install it again: pip install --force-reinstall {package}"
    return BackendUnavailableError(f"{title} cannot be loaded ({error})", cure)


def import_onnxruntime() -> Any:
    """ONNX Runtime, its telemetry off. Raises ImportError where it is not installed.

    From version 1.29 on it reports each process and model to its maker, and keeps an identifier on the disk, unless this variable
    is set before it is loaded. A value that the user has set stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def cpu_session(model: str | bytes, *, optimised: bool = True) -> Any:
    """An ONNX Runtime session on the CPU for an ONNX file's path or bytes. Raises what ONNX Runtime raises."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures arrive as exceptions
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(HARMFUL_OPTIMISERS)
    )


def import_openvino() -> Any:
    """OpenVINO, its telemetry off. Raises ImportError where it is not installed.

    It reports its import through another package, if that is installed; while OpenVINO is imported, it is not.
    """
    hidden = "openvino_telemetry"
    before = sys.modules.get(hidden)
    sys.modules[hidden] = None  # type: ignore[assignment]  # an import of it fails
    try:
        import openvino
    finally:
        del sys.modules[hidden]
        if isinstance(before, ModuleType):
            sys.modules[hidden] = before
    return openvino
