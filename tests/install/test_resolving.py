"""`pip install -e .` needs no compiler on any machine that the README names: every package has a wheel there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .resolver import Index, Target, resolve

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TARGETS = (
    Target("aarch64", 35, (3, 10, 12)),  # JetPack 6: Ubuntu 22.04
    Target("aarch64", 35, (3, 12, 3)),
    Target("aarch64", 39, (3, 10, 12)),
    Target("aarch64", 39, (3, 12, 3)),  # JetPack 7: Ubuntu 24.04
    Target("x86_64", 34, (3, 10, 12)),  # RHEL 9 has glibc 2.34, Ubuntu 22.04 2.35, Debian 12 2.36
    Target("x86_64", 34, (3, 11, 2)),
    Target("x86_64", 34, (3, 12, 3)),
    Target("x86_64", 34, (3, 13, 5)),
)

JETPACK = (TARGETS[0], TARGETS[3])

pytestmark = [
    pytest.mark.index,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore"),  # what pip's own code is warned of
]


@pytest.fixture(scope="module")
def index() -> Index:
    found = Index()
    if not found.files("pip"):
        pytest.skip("no package index can be reached from here")
    return found


@pytest.fixture(scope="module")
def project(repo_root: Path) -> dict[str, list[str]]:
    """The requirements of each extra; "" has those of the project and of its build."""
    text = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))
    plain = [*text["build-system"]["requires"], *text["project"]["dependencies"]]
    return {"": plain, **text["project"]["optional-dependencies"]}


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in JETPACK], ids=str)
def test_nothing_is_compiled(index: Index, project: dict[str, list[str]], target: Target) -> None:
    chosen = resolve(index, project[""], target)
    assert len(chosen) > 20
    assert not [file.link.filename for files in chosen.values() for file in files if not file.is_wheel]


@pytest.mark.parametrize("target", JETPACK, ids=str)
def test_a_jetson_compiles_only_pycuda(index: Index, project: dict[str, list[str]], target: Target) -> None:
    """Also for its tests, of which those marked `gpu` are meant for it."""
    chosen = resolve(index, [*project[""], *project["tensorrt"], *project["test"]], target)
    assert not {"tensorrt", "tensorrt-rtx", "openvino"} & chosen.keys(), "not for aarch64"
    assert {file.name for files in chosen.values() for file in files if not file.is_wheel} == {"pycuda"}


def test_qt_on_aarch64_matches_its_bindings(index: Index, project: dict[str, list[str]]) -> None:
    for target in (target for target in TARGETS if target.machine == "aarch64"):
        chosen = resolve(index, [text for text in project[""] if "PyQt6" in text], target)
        assert len({chosen[name][-1].version.release[:2] for name in ("pyqt6", "pyqt6-qt6")}) == 1, str(target)


def test_what_broke_on_jetpack_6_is_noticed(index: Index) -> None:
    """The newest PyQt6 has a wheel for newer systems only, and a source distribution."""
    older, newer = (resolve(index, ["PyQt6>=6.11,<6.12"], Target("aarch64", glibc, (3, 10, 12))) for glibc in (35, 39))
    assert not older["pyqt6"][-1].is_wheel
    assert newer["pyqt6"][-1].is_wheel
