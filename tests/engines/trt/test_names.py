"""Each name of TensorRT that the project uses exists in every version it supports.

The lists in names/ are those of the real bindings (collect_names.py). The names that the project uses are read from its source:
the attributes of a module called `trt`, and those of objects with the variable names of BY_NAME.
"""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines.trt.loaded import DTYPES

from .collect_names import names_of

REPO_ROOT = Path(__file__).parents[3]
ENGINES = REPO_ROOT / "engines"
LISTS = {path.stem: json.loads(path.read_text(encoding="ascii")) for path in Path(__file__).with_name("names").glob("*.json")}
ALL = frozenset(LISTS)

BY_NAME = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "runtime": "Runtime",
    "inspector": "EngineInspector",
    "timing_cache": "ITimingCache",
    "cache": "ITimingCache",
    "runtime_config": "IRuntimeConfig",
    "runtime_cache": "IRuntimeCache",
    "layer": "ILayer",
    "tensor": "ITensor",
}
"""Variables and attributes, without a leading underscore -> their class, in files that use TensorRT."""

RESULTS = {"get_error": "ParserError"}
"""Methods -> the class of their results."""

DERIVED = {"Monitor": "IProgressMonitor", "Profiler": "IProfiler", "Listener": "ILogger"}
"""The project's classes -> those of TensorRT whose methods they override: a misspelt one would never be called."""

RTX = frozenset({"tensorrt-rtx-1.7"})
SINCE_10_9 = ALL - {"tensorrt-10.3"}

ONLY_IN = {
    "IBuilderConfig.num_compute_capabilities": RTX,
    "IBuilderConfig.set_compute_capability": RTX,
    "BuilderFlag.REQUIRE_USER_ALLOCATION": RTX,
    "DynamicShapesKernelSpecializationStrategy": RTX,
    "DynamicShapesKernelSpecializationStrategy.EAGER": RTX,
    "IRuntimeConfig.create_runtime_cache": RTX,
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy": RTX,
    "IRuntimeConfig.set_execution_context_allocation_strategy": SINCE_10_9,
    "IRuntimeConfig.set_runtime_cache": RTX,
    "ICudaEngine.create_runtime_config": SINCE_10_9,
    "IRuntimeCache.deserialize": RTX,
}
"""Names that are used for one kind of TensorRT only."""


@dataclass(frozen=True)
class Use:
    """One place where a name is used. path: "Builder", "MemoryPoolType.WORKSPACE", "ICudaEngine.num_io_tensors"."""

    path: str
    where: str
    is_optional: bool = False
    """Read by getattr with a default: it may be missing."""


def files() -> list[Path]:
    """All modules: a new one that uses TensorRT is checked by existing."""
    return sorted(ENGINES.rglob("*.py"))


def uses_in(source: str, name: str, *, has_objects: bool) -> list[Use]:
    """The uses in one file. has_objects: whether BY_NAME applies to it."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    kinds = {**BY_NAME, **_results(nodes)}
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    uses = []
    for node in nodes:
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            uses += [Use(path, where) for path in _paths(_chain(node), kinds if has_objects else {})]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
            attribute = _literal(node.args[1])
            chain = (*_chain(node.args[0]), attribute) if attribute else ()
            paths = _paths(chain, kinds if has_objects else {})
            uses += [Use(path, where, is_optional=len(node.args) == 3) for path in paths[-1:]]
        elif has_objects and isinstance(node, ast.ClassDef) and node.name in DERIVED:
            methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
            uses += [Use(f"{DERIVED[node.name]}.{method}", where) for method in methods]
    return [use for use in uses if "__" not in use.path]


def _results(nodes: list[ast.AST]) -> dict[str, str]:
    kinds = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            kind = RESULTS.get(node.value.func.attr)
            kinds.update({target.id: kind for target in node.targets if kind and isinstance(target, ast.Name)})
    return kinds


def _chain(node: ast.AST) -> tuple[str, ...]:
    """("self", "_context", "profiler") of self._context.profiler; parts that are not names become ""."""
    if isinstance(node, ast.Attribute):
        return (*_chain(node.value), node.attr)
    return (node.id,) if isinstance(node, ast.Name) else ("",)


def _paths(chain: tuple[str, ...], kinds: dict[str, str]) -> list[str]:
    """The TensorRT names in a chain: "BuilderFlag" and "BuilderFlag.TF32" for tensorrt.trt.BuilderFlag.TF32."""
    names = [part.lstrip("_") for part in chain]
    if "trt" in names[:-1]:
        after = chain[names.index("trt") + 1 :][:2]
        return [".".join(after[: length + 1]) for length in range(len(after))]
    return [f"{kinds[name]}.{chain[at + 1]}" for at, name in enumerate(names[:-1]) if name in kinds][-1:]


def _literal(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def all_uses() -> Iterator[Use]:
    for path in files():
        source = path.read_text(encoding="utf-8")
        is_ours = path.parent.name == "trt" or path.name == "trt.py"
        names = {getattr(node, kind, "") for node in ast.walk(ast.parse(source)) for kind in ("id", "attr")}
        touches_it = bool(names & {"trt", "TensorRt"})
        yield from uses_in(source, str(path.relative_to(REPO_ROOT)), has_objects=is_ours and touches_it)


def has(names: dict[str, Any], path: str) -> bool:
    first, _, second = path.partition(".")
    return first in names["module"] and (not second or second in names["classes"].get(first, ()))


USES = list(all_uses())
by_path = pytest.mark.parametrize("path", sorted({use.path for use in USES}))


@by_path
def test_every_supported_version_has_the_name(path: str) -> None:
    places = [use for use in USES if use.path == path]
    there = {version for version, names in LISTS.items() if has(names, path)}
    text = f"{path} ({', '.join(use.where for use in places)}) is in {', '.join(sorted(there)) or 'no version'}"

    assert there, text
    if any(not use.is_optional for use in places):
        assert there == ONLY_IN.get(path, ALL), text


def test_the_lists_are_those_of_the_supported_versions() -> None:
    assert {"tensorrt-10.3", "tensorrt-10.13", "tensorrt-10.16", "tensorrt-11.4", "tensorrt-rtx-1.7"} == ALL
    for name, names in LISTS.items():
        assert names["version"].startswith(name.rpartition("-")[2] + ".")
        assert len(names["classes"]) > 150
        assert len(names["classes"]["IBuilderConfig"]) > 30


def test_the_lists_distinguish_versions() -> None:
    assert {name for name in ALL if has(LISTS[name], "BuilderFlag.FP16")} == {"tensorrt-10.3", "tensorrt-10.13", "tensorrt-10.16"}
    assert {name for name in ALL if has(LISTS[name], "ComputeCapability")} == {"tensorrt-rtx-1.7"}
    assert not any(has(names, "Builder.build_engine") for names in LISTS.values())


def test_the_source_was_read() -> None:
    paths = {use.path for use in USES}

    assert len(paths) >= 40
    assert len({use.where.partition(":")[0] for use in USES}) >= 4
    assert {
        "MemoryPoolType.WORKSPACE", "Builder.build_serialized_network", "Runtime.deserialize_cuda_engine", "ParserError.desc",
        "IExecutionContext.execute_async_v3", "IProgressMonitor.step_complete", "ICudaEngine.num_io_tensors", "ILogger.log",
    } <= paths  # fmt: skip


def test_every_exception_is_still_needed() -> None:
    assert ONLY_IN.keys() <= {use.path for use in USES if not use.is_optional}


def test_names_are_found_in_every_form() -> None:
    source = (
        "flag = self._tensorrt.trt.BuilderFlag.TF32\n"
        "if trt.Builder(logger): slot.context.set_input_shape('x', [1])\n"
        "size = getattr(engine, 'old_size', 0) or getattr(tensorrt.trt, 'Newer', None)\n"
        "error = parser.get_error(0)\n"
        "print(error.desc(), logging.config.dictConfig)\n"
        "class Monitor(base):\n    def phase_strat(self): ...\n"
    )
    paths = {(use.path, use.is_optional) for use in uses_in(source, "example.py", has_objects=True)}

    assert paths == {
        ("BuilderFlag", False), ("BuilderFlag.TF32", False), ("Builder", False), ("IExecutionContext.set_input_shape", False),
        ("ICudaEngine.old_size", True), ("Newer", True), ("OnnxParser.get_error", False), ("ParserError.desc", False),
        ("IBuilderConfig.dictConfig", False), ("IProgressMonitor.phase_strat", False),
    }  # fmt: skip
    assert {use.path for use in uses_in(source, "example.py", has_objects=False)} == {
        "BuilderFlag", "BuilderFlag.TF32", "Builder", "Newer",
    }  # fmt: skip


def test_every_version_has_the_types_that_are_read_by_name() -> None:
    for names in LISTS.values():
        assert DTYPES.keys() <= set(names["classes"]["DataType"])


def test_tensorrt_rtx_equals_its_list() -> None:
    live, kept = installed("tensorrt_rtx"), LISTS["tensorrt-rtx-1.7"]
    paths = {use.path for use in USES}

    assert {path for path in paths if has(live, path)} == {path for path in paths if has(kept, path)}


def test_an_installed_tensorrt_has_all_names() -> None:
    live = installed("tensorrt")

    assert not [use for use in USES if not use.is_optional and use.path not in ONLY_IN and not has(live, use.path)]


def installed(module: str) -> dict[str, Any]:
    try:
        return names_of(importlib.import_module(module))
    except (ImportError, OSError) as error:
        pytest.skip(f"{module} is not installed here: {error}")
