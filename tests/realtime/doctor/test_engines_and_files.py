"""Engines, models, presets, disk, memory, processor, power."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.models import zoo

from ...engines.gpu_machine import GpuMachine, fake_machine
from ...fakes.gpu.fake_gpu import World, install
from .conftest import Lab


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tiny_model: Callable[..., Path]) -> Iterator[GpuMachine]:
    """With a model "tiny" of the user's own, and an engine of it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = zoo.own_dir() / "tiny"
    path = make_tiny_model(folder)
    (folder / "card.toml").write_text(f'file = "{path.name}"\n' + (folder / "tiny.toml").read_text())
    with fake_machine(tmp_path / "machine", monkeypatch) as machine:
        machine.build(zoo.find("tiny"), precision="fp32")  # it has no weights that could be cast
        yield machine


def passport(machine: GpuMachine, tmp_path: Path) -> Path:
    (path,) = (tmp_path / "machine/cache").rglob("*.json")
    return path


def test_an_engine_that_is_used(lab: Lab, machine: GpuMachine) -> None:
    found = lab.one("engines", "engine")
    assert found.verdict == "ok"
    assert found.found.startswith("tiny, fp32, 48x64: used; ")
    (time,) = lab.look("first-build")
    assert "in 1 build on this GPU" in time.found


def test_an_engine_of_another_driver_or_tensorrt(lab: Lab, machine: GpuMachine) -> None:
    """TensorRT#2041: "Version tag does not match"."""
    machine.world.driver_version = 13010
    found = lab.one("engines", "engine")
    assert found.verdict == "warning"
    assert "was built with CUDA 13.0; this machine has CUDA 13.1" in found.found
    assert "run.py build tiny" in found.cure


def test_an_engine_that_was_changed_or_signed_elsewhere(lab: Lab, machine: GpuMachine, tmp_path: Path) -> None:
    path = passport(machine, tmp_path)
    plan = path.with_suffix(".plan")
    plan.write_bytes(plan.read_bytes()[:-1])
    assert "is cut off" in lab.one("engines", "engine").found
    sealed = json.loads(path.read_text())
    sealed["signature"] = "0" * 64
    path.write_text(json.dumps(sealed))
    assert "was not signed by this machine" in lab.one("engines", "engine").found
    path.write_text("{")
    (found,) = [finding for finding in lab.look("engines") if finding.verdict == "warning"]
    assert found.cure == f"rm {path} {plan}"


def test_an_engine_of_a_model_that_is_gone(lab: Lab, machine: GpuMachine) -> None:
    shutil.rmtree(zoo.own_dir() / "tiny")
    assert lab.one("engines", "engine").verdict == "absent"


def test_a_key_that_others_can_read(lab: Lab, machine: GpuMachine, tmp_path: Path) -> None:
    (key,) = (tmp_path / "machine/state").rglob("engine.key")
    key.chmod(0o644)
    assert lab.one("engines", "engine").verdict == "problem"


def test_engines_without_a_gpu(lab: Lab, machine: GpuMachine) -> None:
    with install(World(has_driver=False)):
        assert lab.one("engines", "engine").found.endswith("there is no GPU")
        (time,) = lab.look("first-build")
    assert time.verdict == "absent"


def test_a_folder_of_engines_that_cannot_be_read(lab: Lab, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "realtime-segmentation/engines").mkdir(parents=True)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert lab.one("engines", "engines").cure.startswith("export XDG_CACHE_HOME=")


def test_nothing_is_built_yet(lab: Lab, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (found,) = lab.look("engines")
    assert (found.verdict, found.cure.endswith("run.py build road")) == ("absent", True)
    (time,) = lab.look("first-build")
    assert time.found.startswith("unknown: no engine was built on this")


def test_models_that_were_changed(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.one("models", "models").verdict == "ok"
    shutil.copytree(zoo.assets_dir(), tmp_path / "assets")
    (tmp_path / "assets/models/road-small/model.onnx").write_bytes(b"cut off")
    monkeypatch.setattr(zoo, "assets_dir", lambda: tmp_path / "assets")
    found = lab.one("models", "road-small")
    assert found.verdict == "problem"
    assert "SHA-256" in found.found
    shutil.rmtree(tmp_path / "assets/models")
    assert lab.one("models", "models").verdict == "problem"


def test_presets_that_cannot_be_read(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.one("settings", "presets").verdict == "ok"
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/webcam.toml").write_text("width = 'wide'\n")
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(zoo, "assets_dir", lambda: tmp_path)
    found = lab.one("settings", "webcam")
    assert found.verdict == "problem"
    assert "width" in found.found


def test_folders_that_cannot_be_written(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    assert {finding.verdict for finding in lab.look("disk")} <= {"ok", "warning"}
    (tmp_path / "CACHE").write_text("a file")
    assert lab.one("disk", "engines").cure.startswith("export XDG_CACHE_HOME=")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if mode & os.W_OK else real(path, mode))
    subjects = [finding.subject for finding in lab.look("disk") if finding.verdict == "problem"]
    assert subjects[:3] == ["engines", "models", "key of engines"]
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr("engines.system.places.platformdirs.user_data_path", lambda name: Path("~/data"))
    assert lab.one("disk", "models").cure.startswith("export HOME=")


@pytest.mark.parametrize(("gib", "verdict"), [(0.1, "problem"), (1, "warning"), (50, "ok")])
def test_room_on_the_disk(lab: Lab, monkeypatch: pytest.MonkeyPatch, gib: float, verdict: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 0, int(gib * 2**30)))
    assert {finding.verdict for finding in lab.look("disk") if finding.subject == "disk"} == {verdict}


def memory(total_gib: float, available_gib: float, swap_gib: float = 0) -> dict[str, str]:
    names = {"MemTotal": total_gib, "MemAvailable": available_gib, "SwapTotal": swap_gib}
    return {"proc/meminfo": "".join(f"{name}: {int(gib * 2**20)} kB\n" for name, gib in names.items())}


def test_memory(lab: Lab) -> None:
    assert lab.one("memory", "memory").verdict == "absent"
    for available_gib, verdict in ((12.0, "ok"), (1.0, "warning"), (0.2, "problem")):
        lab.write(memory(16, available_gib))
        assert lab.one("memory", "memory").verdict == verdict
    lab.write({**memory(16, 12), "sys/fs/cgroup/memory.max": f"{2**30}\n", "sys/fs/cgroup/memory.current": f"{2**29}\n"})
    found = lab.one("memory", "memory")
    assert (found.verdict, found.found.startswith("0.5 GiB of 1.0 GiB free, as this container")) == ("warning", True)


def test_a_small_board_needs_swap_for_a_build(lab: Lab) -> None:
    lab.jetson()
    lab.write(memory(7.4, 5, 0))
    found = lab.one("memory", "swap")
    assert (found.verdict, found.cure.startswith("sudo fallocate -l 8G /swapfile")) == ("warning", True)
    lab.write(memory(7.4, 5, 8))
    assert lab.one("memory", "swap").verdict == "ok"


def test_the_processor(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    lab.write({"proc/cpuinfo": "flags : fpu avx2 avx512f\n", "proc/loadavg": "0.5 0.4 0.3 1/200 99\n"})
    (found,) = lab.look("cpu")
    assert (found.verdict, found.found) == ("ok", "4 cores, avx2, avx512f")
    lab.write({"proc/loadavg": "9.5 0.4 0.3 1/200 99\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"})
    assert [finding.verdict for finding in lab.look("cpu")] == ["warning", "warning"]
    assert "a limit of 1.5 cores" in lab.one("cpu", "cpu").found


CONF = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"


def test_power_of_a_jetson(lab: Lab) -> None:
    lab.jetson()
    assert lab.one("power", "power mode").verdict == "absent"
    lab.write({"etc/nvpmodel.conf": CONF, "var/lib/nvpmodel/status": "pmode:0000"})
    found = lab.one("power", "power mode")
    assert (found.verdict, found.cure.startswith("sudo nvpmodel -m 2 ")) == ("warning", True)
    lab.write({"var/lib/nvpmodel/status": "pmode:0002"})
    assert [finding.verdict for finding in lab.look("power")] == ["ok", "ok"]
    assert "JetPack 6.2 (Jetson Linux 36.4.3)" in lab.one("power", "jetpack").found


@pytest.mark.parametrize(("revision", "verdict"), [("2.0", "problem"), ("3.0", "problem"), ("4.0", "ok"), ("9.0", "ok")])
def test_a_jetpack_of_the_right_generation_that_is_too_old(lab: Lab, revision: str, verdict: str) -> None:
    """6.0 has TensorRT 8.6; of a release that is not known, only the generation is compared."""
    lab.jetson()
    lab.write({"etc/nv_tegra_release": f"# R36 (release), REVISION: {revision}, GCID: 1\n"})
    found = lab.one("power", "jetpack")
    assert found.verdict == verdict
    assert ("JetPack 6.1 or newer is required" in found.found) == (verdict == "problem")


def test_a_jetson_that_is_too_old_hot_or_fed_too_little(lab: Lab) -> None:
    lab.jetson()
    lab.write(
        {
            "etc/nv_tegra_release": "# R35 (release), REVISION: 6.0, GCID: 1\n",
            "sys/class/thermal/cooling_device0/type": "gpu-throttle-alert\n",
            "sys/class/thermal/cooling_device0/cur_state": "1\n",
            "sys/class/hwmon/hwmon1/oc1_event_cnt": "3\n",
        }
    )
    found = {finding.subject: finding.verdict for finding in lab.look("power")}
    assert found == {"jetpack": "problem", "power mode": "absent", "throttling": "warning", "power supply": "warning"}


def test_power_of_a_pc(lab: Lab) -> None:
    assert lab.one("power", "power").verdict == "absent"
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    lab.write({f"{folder}/scaling_governor": "powersave\n", f"{folder}/scaling_driver": "intel_pstate\n"})
    assert lab.one("power", "power").verdict == "ok"
    lab.write({f"{folder}/scaling_driver": "acpi-cpufreq\n"})
    assert "cpupower" in lab.one("power", "governor").cure
    lab.write({f"{folder}/scaling_driver": "intel_pstate\n", f"{folder}/energy_performance_preference": "power\n"})
    assert "powerprofilesctl" in lab.one("power", "power profile").cure
    supplies = "sys/class/power_supply"
    lab.write({f"{supplies}/AC/type": "Mains\n", f"{supplies}/AC/online": "0\n", f"{supplies}/BAT0/type": "Battery\n"})
    assert lab.one("power", "battery").verdict == "warning"
