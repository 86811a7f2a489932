"""The container's recipe, its script and the units are valid, and say what documentation says. No image is built here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def tool(name: str) -> str:
    """A program that the test extra, or Debian, brings."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def output(*command: str | Path, **settings: str) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=30, check=False, env={**environment, **settings}
    )
    return done.returncode, done.stdout + done.stderr


def test_the_recipe_is_without_faults() -> None:
    assert output(tool("hadolint"), DEPLOY / "Dockerfile") == (0, "")


@pytest.mark.parametrize("script", [DEPLOY / "container", ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_scripts_are_without_faults(script: Path) -> None:
    assert output(tool("shellcheck"), script) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_without_faults(unit: Path, tmp_path: Path) -> None:
    """In a copy whose program exists."""
    text = unit.read_text(encoding="utf-8")
    program = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert program is not None
    (tmp_path / unit.name).write_text(text.replace(program[1], "/bin/sh", 1) if "%h" in program[1] else text)
    scope = "--user" if "kiosk" in unit.name else "--system"
    code, said = output(tool("systemd-analyze"), scope, "--man=no", "verify", tmp_path / unit.name, XDG_RUNTIME_DIR=str(tmp_path))
    about = [line for line in said.splitlines() if unit.name in line]
    assert (code, about) == (0, []), said


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_the_line_of_a_unit_is_one_of_the_program(unit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from realtime.commands import process, view
    from realtime.commands.common.options import parsed

    line = re.search(r"run\.py (view|process) (.*)", unit.read_text(encoding="utf-8"))
    assert line is not None
    words = [word.strip("\"'") for word in line[2].replace("$(date +%%Y%%m%%dT%%H%%M%%S)", "now").split()]
    words = [word for word in words if "OPTIONS" not in word]
    command = {"view": view, "process": process}[line[1]]
    parsed(command.Options, [word.replace("${SOURCE}", "csi://0").replace("$SOURCE", "csi://0") for word in words])


def test_the_recipe_copies_what_there_is_and_has_the_libraries_of_the_window() -> None:
    recipe = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    for sources in re.findall(r"^COPY (.+) /src", recipe, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    libraries = re.search(r"sudo apt install (libgl1 [^`]*)`", readme)
    assert libraries is not None
    assert not [name for name in libraries[1].split() if name not in recipe.split()]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    for sources in re.findall(r"^COPY (.+) /src", recipe, re.MULTILINE):
        assert all(f"!{source}" in ignored for source in sources.split())


@pytest.mark.parametrize(
    ("release", "base", "packages"),
    [
        (None, "BASE=nvidia/cuda:", ""),
        ("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic", "BASE=nvcr.io/nvidia/l4t-jetpack:r36", ""),
        ("# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic", "BASE=nvidia/cuda:13", "PACKAGES=python3-libnvinfer"),
    ],
    ids=["pc", "jetpack6", "jetpack7"],
)
def test_the_image_fits_the_machine(tmp_path: Path, release: str | None, base: str, packages: str) -> None:
    (tmp_path / "etc").mkdir()
    if release is not None:
        (tmp_path / "etc" / "nv_tegra_release").write_text(f"{release}\n")
    code, said = output(DEPLOY / "container", "--print", "build", HOST_ROOT=str(tmp_path))
    assert code == 0
    assert base in said
    assert packages in said
    assert output(DEPLOY / "container", "--print", "build", HOST_ROOT=str(tmp_path), BASE="mine:1")[1].count("BASE=mine:1") == 1


def test_a_board_that_is_too_old_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text("# R35 (release), REVISION: 4.1\n")
    code, said = output(DEPLOY / "container", "--print", "build", HOST_ROOT=str(tmp_path))
    assert (code, "older than JetPack 6" in said) == (2, True)


def test_what_the_machine_has_is_given_to_the_container(tmp_path: Path) -> None:
    for folder in ("dev", "tmp/.X11-unix", "etc", "run"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("dev/video0", "dev/video2", "tmp/argus_socket", "run/wayland-0", "cookie"):
        (tmp_path / file).touch()
    (tmp_path / "etc" / "nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\n")
    facts = {"HOST_ROOT": str(tmp_path), "DISPLAY": ":0", "XAUTHORITY": str(tmp_path / "cookie"), "CAM_PASSWORD": "hush"}
    facts |= {"WAYLAND_DISPLAY": "wayland-0", "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    code, said = output(DEPLOY / "container", "--print", "view", "rtsp://me:${CAM_PASSWORD}@camera/1", "--width", "640", **facts)
    assert code == 0
    for part in (
        "--runtime nvidia", "dev/video0", "dev/video2", "tmp/argus_socket:/tmp/argus_socket", "/.X11-unix:/tmp/.X11-unix:ro",
        "DISPLAY=:0", "/cookie:/run/xauthority:ro", "run/wayland-0:/run/display/wayland-0", "--env CAM_PASSWORD ",
        "realtime-segmentation:/data", "nv_tegra_release:/etc/nv_tegra_release:ro", "--width 640",
    ):  # fmt: skip
        assert part in said, part
    assert "hush" not in said
    bare = output(DEPLOY / "container", "--print", "process", "a.mp4", HOST_ROOT=str(tmp_path / "run"))[1]
    assert not [part for part in ("argus", "X11", "--device", "DISPLAY", "tegra") if part in bare]
