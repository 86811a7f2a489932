"""A machine of the test's own for the checks: a root folder, programs on PATH, installed packages, a fake GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from realtime.doctor import load
from realtime.doctor.common.finding import Finding
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.report import clean

from ...fakes.gpu.fake_gpu import World, install

ORIN = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"


class Lab:
    """Writes what a machine would have, and asks checks about it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.programs, self.packages = folder / "root", folder / "programs", folder / "packages"
        self.environ: dict[str, str] = {"PATH": str(self.programs)}
        self.options: dict[str, Any] = {}
        for place in (self.root, self.programs, self.packages):
            place.mkdir()

    def write(self, files: Mapping[str, str]) -> None:
        """Files below the root."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def program(self, name: str, script: str = "") -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def package(self, name: str, version: str, *requires: str) -> None:
        """A package as pip records it."""
        folder = self.packages / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
        (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")

    def jetson(self, board: str = ORIN) -> None:
        self.write({"etc/nv_tegra_release": RELEASE, "proc/device-tree/model": board + "\0"})

    def pci_gpu(self) -> None:
        """A graphics card of NVIDIA's, without any driver."""
        self.write(
            {f"sys/bus/pci/devices/0000:01:00.0/{key}": text for key, text in (("vendor", "0x10de\n"), ("class", "0x030000\n"))}
        )

    @property
    def machine(self) -> Machine:
        return Machine(self.root, self.environ, Path(sys.executable), **{"paths": (str(self.packages),), **self.options})

    def look(self, check: str) -> list[Finding]:
        """What a check finds. Of every finding in these tests: a cure where it is needed, that is shown as it is to be typed."""
        found = list(load(check).check(self.machine))
        assert found
        for finding in found:
            assert bool(finding.cure) or finding.verdict in ("ok", "absent"), finding
            assert not finding.cure or finding.verdict != "ok", finding
            assert clean(finding).cure == finding.cure
        return found

    def one(self, check: str, subject: str) -> Finding:
        """The only finding about `subject`."""
        (found,) = [finding for finding in self.look(check) if finding.subject == subject]
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def world() -> Iterator[World]:
    """A GPU with PyCUDA and TensorRT."""
    with install(World()) as world:
        yield world


@pytest.fixture
def no_gpu() -> Iterator[World]:
    """No driver, whatever this machine has."""
    with install(World(has_driver=False, has_pycuda=False, has_tensorrt=False)) as world:
        yield world
