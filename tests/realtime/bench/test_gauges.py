"""RAPL's counters and a Jetson's files, in folders like the kernel's."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from realtime.bench.machine import Rapl, hardware, machine_cpu_s, rss_mb, slope_per_minute
from realtime.bench.samples import Sample, read_sysfs


def zone(root: Path, name: str, label: str, energy_uj: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text("1000000\n")
    return folder


def test_packages_are_added_up_without_their_parts(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 100_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 200_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl:2", "psys", 7)
    rapl = Rapl(tmp_path)
    before = rapl.counters()
    assert before == {"intel-rapl:0": 100_000, "intel-rapl:1": 200_000}
    zone(tmp_path, "intel-rapl:0", "package-0", 600_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 200_001)
    assert rapl.joules_since(before) == pytest.approx(0.500001)


def test_a_counter_that_wrapped_around_is_continued(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    rapl = Rapl(tmp_path)
    before = rapl.counters()
    zone(tmp_path, "intel-rapl:0", "package-0", 150_000)
    assert rapl.joules_since(before) == pytest.approx(0.25)


def test_counters_that_stand_still_are_no_figure(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    rapl = Rapl(tmp_path)
    assert rapl.joules_since(rapl.counters()) is None
    assert "do not move" in rapl.why_not


def test_without_counters_there_is_no_figure_and_a_reason(tmp_path: Path) -> None:
    rapl = Rapl(tmp_path / "none")
    assert rapl.counters() == {}
    assert rapl.joules_since({}) is None
    assert "has no counter" in rapl.why_not


def test_counters_for_root_only_are_an_error_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    real = Path.read_text

    def refuses(self: Path, *args: object, **facts: object) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuses)  # tests may run as root, which may read everything
    rapl = Rapl(tmp_path)
    assert rapl.counters() == {}
    assert "sudo chmod" in rapl.why_not


def test_a_jetson_s_monitor_and_gpu_are_read_from_files(tmp_path: Path) -> None:
    monitor = tmp_path / "class/hwmon/hwmon3"
    monitor.mkdir(parents=True)
    files = {
        "name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "1200",
        "in2_label": "VDD_SOC", "in2_input": "5000", "curr2_input": "300", "in3_label": "broken",
    }  # fmt: skip
    for name, text in files.items():
        (monitor / name).write_text(text + "\n")
    (tmp_path / "devices/platform/gpu.0").mkdir(parents=True)
    (tmp_path / "devices/platform/gpu.0/load").write_text("437\n")
    assert read_sysfs(tmp_path) == Sample(6.0, None, 43.7, "VDD_IN")
    assert read_sysfs(tmp_path / "class") is None


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="gauges read Linux's /proc")  # noqa: PTH110
def test_gauges_of_this_process_and_this_machine() -> None:
    before_mb, before_s = rss_mb(), machine_cpu_s()
    assert before_mb is not None
    assert before_s is not None
    ballast = mmap.mmap(-1, 60_000_000)  # straight from the kernel: the allocator may have kept as much from an earlier test
    ballast.write(b"x" * 60_000_000)
    after_mb, after_s = rss_mb(), machine_cpu_s()
    assert after_mb is not None
    assert after_s is not None
    assert 40 < after_mb - before_mb < 120
    assert after_s >= before_s
    ballast.close()


def test_cores_that_the_process_may_not_use_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    busy = {"cpu": 900, "cpu0": 100, "cpu1": 200, "cpu10": 600}
    stat.write_text("".join(f"{name} {ticks} 0 0 5 5 0 0 0 0 0\n" for name, ticks in busy.items()) + "intr 3\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert machine_cpu_s(stat) == pytest.approx(300 / os.sysconf("SC_CLK_TCK"))
    assert hardware()["cores"] == "2"
    assert machine_cpu_s(tmp_path / "none") is None


def test_one_step_is_not_a_slope_but_a_steady_rise_with_steps_is() -> None:
    times_s = [0.1 * look for look in range(600)]
    step = [300.0 if time_s < 4 else 330.0 for time_s in times_s]
    assert slope_per_minute(times_s[:60], step[:60]) == pytest.approx(0, abs=0.1)
    leak = [300.0 + 4 * int(time_s) for time_s in times_s]
    assert slope_per_minute(times_s, leak) == pytest.approx(240, rel=0.05)


def test_a_slope_is_of_a_line_through_all_samples() -> None:
    assert slope_per_minute([10.0, 11.0, 12.0, 13.0], [100.0, 102.0, 104.0, 106.0]) == pytest.approx(120)
    assert slope_per_minute([0.0, 1.0], [1.0, 2.0]) is None
    assert slope_per_minute([5.0, 5.0, 5.0], [1.0, 2.0, 3.0]) is None
