"""Facts of a Jetson and its clocks, from folders like its own: JetPack 6 on an Orin Nano, JetPack 7 on a Thor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.bench.clocks import (
    HOT_PACKAGE,
    OVER_CURRENT,
    Clock,
    clocks,
    reports_throttling,
    temperatures,
    throttle_counts,
    throttling,
)
from realtime.process import jetson
from realtime.process.jetson import PowerMode

Fill = Callable[[dict[str, str]], Path]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Writes files below a root, which it returns."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


RELEASE = "# R{}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n"
CORE = "Package: nvidia-l4t-core\nStatus: install ok installed\nArchitecture: arm64\nVersion: {}\nDescription: core\n"
CONF = """\
# < POWER_MODEL ID=9 NAME=COMMENTED >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=1 >
"""


@pytest.mark.parametrize(
    ("release", "l4t", "version"),
    [
        ("36 (release), REVISION: 4.3", "36.4.3", "6.2"),
        ("36 (release), REVISION: 9.1", "36.9.1", "6"),
        ("38 (release), REVISION: 2.0", "38.2.0", "7.0"),
        ("39 (release), REVISION: 2.1", "39.2.1", "7.2.1"),
        ("35 (release), REVISION: 6.0", "35.6.0", "5"),
        ("36 (release), REVISION: 4", "36.4.0", "6.1"),
        ("41 (release), REVISION: 1.0", "41.1.0", ""),
    ],
)
def test_the_release_names_the_jetpack_and_an_unknown_one_only_its_generation(
    fill: Fill, release: str, l4t: str, version: str
) -> None:
    root = fill({"etc/nv_tegra_release": RELEASE.format(release)})
    assert (jetson.l4t_release(root), jetson.jetpack(root)) == (l4t, version)
    assert jetson.is_jetson(root)


def test_without_the_file_the_packages_say_it(fill: Fill) -> None:
    packages = f"{CORE.format('1').replace('l4t-core', 'l4t-core-extra')}\n{CORE.format('36.4.7-20250918154033')}"
    root = fill({"var/lib/dpkg/status": packages})
    assert (jetson.l4t_release(root), jetson.jetpack(root)) == ("36.4.7", "6.2.1")
    fill({"var/lib/dpkg/status": packages + "\n" + CORE.replace("l4t-core", "jetpack").format("6.2.9+b38")})
    assert jetson.jetpack(root) == "6.2.9"
    fill({"var/lib/dpkg/status": CORE.replace("install ok installed", "deinstall ok config-files").format("36.4.7-2025")})
    assert jetson.l4t_release(root) == ""


def test_a_package_that_is_held_is_installed(fill: Fill) -> None:
    """As NVIDIA's are held so that an upgrade does not break a board. The last paragraph of the file may lack its empty line."""
    held = CORE.replace("install ok", "hold ok").replace("nvidia-l4t-core", "libnvinfer10").format("10.3.0").strip()
    root = fill({"var/lib/dpkg/status": f"{CORE.format('1')}\n{held}"})
    assert jetson.package_version(r"libnvinfer\d+", root) == "10.3.0"
    assert (jetson.package_version("libnvinfer", root), jetson.package_version("nvidia-l4t-core", root)) == ("", "1")


def test_a_pc_is_no_jetson(fill: Fill) -> None:
    root = fill({"proc/cpuinfo": "model name: Some CPU\n"})
    assert not jetson.is_jetson(root)
    assert (jetson.jetpack(root), jetson.power_mode(root), jetson.power_modes(root)) == ("", None, ())
    assert (clocks(root), temperatures(root), throttling(root), reports_throttling(root)) == ({}, {}, (), False)


def test_a_board_without_release_file_is_known_by_its_name(fill: Fill) -> None:
    root = fill({"proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0"})
    assert jetson.board(root) == "NVIDIA Jetson AGX Thor Developer Kit"
    assert jetson.is_jetson(root)
    assert not jetson.is_jetson(fill({"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}))
    assert jetson.is_jetson(fill({"proc/device-tree/compatible": "vendor,board\0nvidia,p3701-0000\0nvidia,tegra234\0"}))


def test_a_container_that_sees_only_the_gpus_node_is_on_a_jetson(fill: Fill) -> None:
    assert jetson.is_jetson(fill({"dev/nvmap": ""}))


def test_the_power_mode_is_what_nvpmodel_says_after_its_warnings(fill: Fill) -> None:
    root = fill({"etc/nvpmodel.conf": CONF, "var/lib/nvpmodel/status": "pmode:0001"})
    program(root / "usr/sbin/nvpmodel", 'echo "NVPM WARN: fan mode is not set!" >&2; echo "NV Power Mode: MAXN_SUPER"; echo 2')
    assert jetson.power_mode(root) == PowerMode(2, "MAXN_SUPER")
    assert str(jetson.power_mode(root)) == "MAXN_SUPER (2)"
    assert jetson.power_modes(root) == ((0, "15W"), (1, "25W"), (2, "MAXN_SUPER"), (3, "7W"))


@pytest.mark.parametrize("script", ['echo "NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13" >&2; exit 1', "exec sleep 30"])
def test_where_nvpmodel_fails_or_hangs_its_files_are_read(fill: Fill, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson, "TIMEOUT_S", 0.2)
    root = fill({"etc/nvpmodel.conf": CONF, "var/lib/nvpmodel/status": "pmode:0001 fmode:quiet"})
    program(root / "usr/sbin/nvpmodel", script)
    assert jetson.power_mode(root) == PowerMode(1, "25W")
    fill({"var/lib/nvpmodel/status": "pmode:0007"})
    assert jetson.power_mode(root) == PowerMode(7, "7")


ORIN = {
    "sys/class/devfreq/15340000.vic/cur_freq": "729600000",
    "sys/class/devfreq/17000000.gpu/cur_freq": "611000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": "2133000000",
    "sys/kernel/debug/bpmp/debug/clk/emc/max_rate": "3199000000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1728000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "729600",
    "sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq": "1510400",
    "sys/devices/system/cpu/cpu4/cpufreq/scaling_max_freq": "1728000",
    "sys/devices/system/cpu/cpu4/cpufreq/scaling_min_freq": "1728000",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "9999999",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "54312",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "active",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "50000",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "99000",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
    "sys/class/thermal/thermal_zone1/temp": "-256000",
    "sys/class/thermal/thermal_zone2/type": "gpu-thermal",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "3",
    "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert",
    "sys/class/thermal/cooling_device1/cur_state": "0",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0",
    "sys/class/hwmon/hwmon3/oc2_event_cnt": "2",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "37",
}


def test_clocks_and_temperatures_of_an_orin(fill: Fill) -> None:
    root = fill(ORIN)
    assert clocks(root) == {
        "GPU": Clock(611.0, 1020.0, 306.0),
        "EMC": Clock(2133.0, 3199.0, None),
        "CPU": Clock(1510.4, 1728.0, 1728.0),
    }
    assert [clock.is_locked for clock in clocks(root).values()] == [False, False, True]
    assert temperatures(root) == {"cpu-thermal": 54.312}, "a part that is off, and one that cannot be read, have none"
    assert throttle_counts(root) == {OVER_CURRENT: 39}
    assert reports_throttling(root)


def test_of_many_cores_some_are_looked_at(fill: Fill) -> None:
    root = fill({f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": str(core * 1000) for core in range(100, 228)})
    assert clocks(root) == {"CPU": Clock(220.0)}, "every tenth of 128"


def test_of_cores_that_differ_the_largest_limit_counts_whichever_is_fastest_now(fill: Fill) -> None:
    """P and E cores, big.LITTLE; a core whose limit cannot be read."""
    cores = {"cpu0": (800, 5200), "cpu1": (3900, 3900), "cpu2": (3900, None)}
    for core, values_mhz in cores.items():
        folder = f"sys/devices/system/cpu/{core}/cpufreq"
        kinds = dict(zip(("cur", "max"), values_mhz, strict=True))
        root = fill({f"{folder}/scaling_{kind}_freq": str(mhz * 1000) for kind, mhz in kinds.items() if mhz is not None})
    assert clocks(root) == {"CPU": Clock(3900.0, 5200.0)}


def test_a_thor_names_them_otherwise_and_needs_no_root_for_its_memory(fill: Fill) -> None:
    files = {"bwmgr/cur_freq": "4266000000", "gpu-gpc-0/cur_freq": "1575000000", "gpu-nvd-0/cur_freq": "1692000000"}
    root = fill({f"sys/class/devfreq/{name}": text for name, text in files.items()})
    assert clocks(root) == {"GPU": Clock(1575.0), "EMC": Clock(4266.0)}


def test_throttling_is_an_alert_or_a_lowered_clock_or_a_trip_point_but_no_fan(fill: Fill) -> None:
    root = fill(ORIN)
    assert throttling(root) == ()
    fill({"sys/class/thermal/cooling_device1/cur_state": "1", "sys/class/thermal/thermal_zone0/temp": "99500"})
    assert throttling(root) == ("gpu-throttle-alert", "cpu-thermal above 99 °C")
    for number, (kind, state) in enumerate([("cpufreq-cpu0", 2), ("TCC Offset", 5), ("Processor", 0)]):
        folder = f"sys/class/thermal/cooling_device{number}"
        fill({f"{folder}/type": kind, f"{folder}/cur_state": str(state)})
    fill({"sys/class/thermal/thermal_zone0/temp": "50500"})
    assert throttling(root) == ("cpufreq-cpu0",)


def test_a_pc_s_processor_and_its_count_of_thermal_events(fill: Fill) -> None:
    root = fill(
        {
            "sys/class/hwmon/hwmon0/name": "nvme",
            "sys/class/hwmon/hwmon0/temp1_input": "70000",
            "sys/class/hwmon/hwmon1/name": "k10temp",
            "sys/class/hwmon/hwmon1/temp1_input": "61250",
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "4",
            "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "4",
            "sys/class/thermal/thermal_zone0/type": "acpitz",
            "sys/class/thermal/thermal_zone0/temp": "27800",
            "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
            "sys/class/thermal/thermal_zone0/trip_point_0_temp": "0",
        }
    )
    assert temperatures(root) == {"k10temp": 61.25, "acpitz": 27.8}
    assert throttle_counts(root) == {HOT_PACKAGE: 4}
    assert throttling(root) == (), "a trip point of 0 °C is firmware's word for none"
