"""The power meter, on lines as the tools print them, and with scripts in place of the tools."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.bench.power import PowerMeter, PowerReading
from realtime.bench.samples import Sample, parse_nvidia_smi, parse_tegrastats, read_jtop

ORIN_NANO_JETPACK_6 = (
    "11-03-2026 09:41:07 RAM 3127/7620MB (lfb 12x4MB) SWAP 64/3810MB (cached 0MB) CPU [21%@1510,18%@1510,9%@1510,off,off,off] "
    "EMC_FREQ 11%@2133 GR3D_FREQ 83%@[624] NVDEC off NVJPG off VIC off APE 200 cpu@54.312C soc2@52.75C soc0@53.093C "
    "gpu@55.218C tj@55.5C soc1@53.968C VDD_IN 9876mW/9120mW VDD_CPU_GPU_CV 4021mW/3610mW VDD_SOC 2230mW/2190mW"
)
ORIN_NX_JETPACK_5 = (
    "RAM 2801/15523MB (lfb 2300x4MB) SWAP 0/7761MB (cached 0MB) CPU [2%@729,0%@729,1%@729,0%@729,off,off,off,off] EMC_FREQ 0% "
    "GR3D_FREQ 0%@0 VIC_FREQ 729 APE 174 CV0@-256C CPU@45.2C SOC2@43.4C SOC0@43.9C CV1@-256C GPU@-256C tj@45.2C SOC1@44C "
    "CV2@-256C VDD_IN 5210mW/5342mW VDD_CPU_GPU_CV 811mW/820mW VDD_SOC 1601mW/1610mW"
)
AGX_ORIN = (
    "RAM 6011/62800MB (lfb 13201x4MB) SWAP 0/31400MB (cached 0MB) CPU [3%@1728,2%@1728] GR3D_FREQ 12%@[1296,1300] "
    "cpu@51.5C tboard@40.25C soc2@47.9C tdiode@42.5C soc0@48.1C gpu@47.2C tj@51.5C soc1@47.6C VDD_GPU_SOC 6320mW/6001mW "
    "VDD_CPU_CV 1580mW/1492mW VIN_SYS_5V0 5340mW/5301mW VDDQ_VDD2_1V8AO 1204mW/1190mW"
)
NANO_JETPACK_4 = (
    "RAM 1422/3964MB (lfb 310x4MB) SWAP 0/1982MB (cached 0MB) CPU [12%@1479,8%@1479,off,off] EMC_FREQ 0% GR3D_FREQ 34% "
    "PLL@31C CPU@35.5C PMIC@100C GPU@34C AO@40.5C thermal@34.75C POM_5V_IN 3812/3790 POM_5V_GPU 412/399 POM_5V_CPU 891/880"
)


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        (ORIN_NANO_JETPACK_6, Sample(9.876, 55.5, 83.0, "VDD_IN", clocks_mhz={"GPU": 624.0, "EMC": 2133.0})),
        (ORIN_NX_JETPACK_5, Sample(5.21, 45.2, 0.0, "VDD_IN")),
        (AGX_ORIN, Sample(13.24, 51.5, 12.0, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", clocks_mhz={"GPU": 1300.0})),
        (NANO_JETPACK_4, Sample(3.812, 40.5, 34.0, "POM_5V_IN")),
        ("RAM 1422/3964MB SWAP 0/1982MB CPU [off] GR3D_FREQ 0% CPU@40C", Sample(None, 40.0, 0.0, "")),
    ],
    ids=["orin-nano-6", "orin-nx-5", "agx-orin", "nano-4", "no-rail"],
)
def test_a_line_of_tegrastats_is_read_on_every_board(line: str, sample: Sample) -> None:
    assert parse_tegrastats(line) == sample


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("213.47, 61, 98", Sample(213.47, 61.0, 98.0, "GPU 0")),
        (
            "213.47, 61, 98, 1024, 1980, 7001, 0x0000000000000024",
            Sample(213.47, 61.0, 98.0, "GPU 0", 1073.741824, {"GPU": 1980.0, "GPU memory": 7001.0}, 0x24),
        ),
        ("9.1, 40, 0, [N/A], 300, [N/A], [N/A]", Sample(9.1, 40.0, 0.0, "GPU 0", None, {"GPU": 300.0}, None)),
        ("[N/A], 61, 98\n", Sample(None, 61.0, 98.0, "GPU 0")),
        ("35.10, 44", Sample(35.1, 44.0, None, "GPU 0")),
        ("No devices were found", None),
        ("", None),
    ],
)
def test_a_line_of_nvidia_smi_is_read_and_missing_figures_are_none(line: str, sample: Sample | None) -> None:
    assert parse_nvidia_smi(line) == sample


@given(st.text())
def test_no_line_breaks_the_parsers(line: str) -> None:
    for sample in (parse_tegrastats(line), parse_nvidia_smi(line)):
        assert sample is None or sample.power_w is not None or sample.temperature_c is not None


def test_jtop_reports_milliwatts_and_offline_sensors_do_not_count() -> None:
    power = {"rail": {"VDD_SOC": {"power": 1500}}, "tot": {"power": 7321, "avg": 7000}}
    temperature = {
        "cpu": {"temp": 48.5, "online": True},
        "cv0": {"temp": 99.0, "online": False},
        "gpu": {"temp": -256, "online": True},
    }
    assert read_jtop(power, temperature, {"GPU": 55}, {}) == Sample(7.321, 48.5, 55.0, "total")
    assert read_jtop({}, {}, {}, {}) == Sample(None, None, None, "total")


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No monitor on PATH and no jtop, whatever this machine has."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jtop", None)


def _install(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!{sys.executable} -SE\nimport sys, time\nsay = lambda text: print(text, flush=True)\n{script}\n")
    program.chmod(0o755)


def _measure(wanted: int = 3, timeout_s: float = 10.0) -> PowerMeter:
    due_s = time.monotonic() + timeout_s
    with PowerMeter(20) as meter:
        while time.monotonic() < due_s and meter._thread.is_alive():
            reading = meter.reading()
            if reading is not None and reading.samples >= wanted:
                break
            time.sleep(0.005)
    assert not meter._thread.is_alive()
    return meter


def test_tegrastats_is_sampled_until_the_end(tmp_path: Path) -> None:
    script = f"line = {ORIN_NANO_JETPACK_6!r}\nassert sys.argv[1:] == ['--interval', '20']\n"
    script += "for mw in (8000, 10000, 12000):\n  say(line.replace('9876mW', f'{mw}mW'))\ntime.sleep(60)"
    _install(tmp_path, "tegrastats", script)
    start_s = time.monotonic()
    assert _measure().reading() == PowerReading(10.0, 12.0, 55.5, "tegrastats (VDD_IN)", 3)
    assert time.monotonic() - start_s < 5, "the tool is ended, not waited for"


def test_without_a_jetson_the_graphics_card_is_read(tmp_path: Path) -> None:
    _install(tmp_path, "nvidia-smi", "for w in (100, 140, 120):\n  say(f'{w}.00, {w - 60}, 97')\ntime.sleep(60)")
    assert _measure().reading() == PowerReading(120.0, 140.0, 80.0, "nvidia-smi (GPU 0)", 3)


def test_a_graphics_card_s_clocks_and_what_lowers_them_are_read(tmp_path: Path) -> None:
    lines = ("100, 60, 97, 1000, 1980, 7001, 0x0000000000000001", "120, 71, 97, 1000, 1755, 7001, 0x0000000000000024")
    _install(tmp_path, "nvidia-smi", f"for line in {lines!r}:\n  say(line)\ntime.sleep(60)")
    state = _measure(wanted=2).state()
    assert state.clocks_mhz == {"GPU": (1980.0, 1755.0), "GPU memory": (7001.0, 7001.0)}
    assert state.throttles == ("the GPU's power limit", "the GPU's temperature"), "being idle is none"
    assert state.temperatures_c == (60.0, 71.0)


@pytest.mark.parametrize("known", ["clocks_throttle_reasons.active", "nothing of the kind"])
def test_an_older_driver_is_asked_for_what_it_knows(tmp_path: Path, known: str) -> None:
    script = f"""
fields = sys.argv[1].removeprefix("--query-gpu=").split(",")
wrong = next((one for one in fields if "reasons" in one and one != {known!r}), "")
if wrong:
    say(f'Field "{{wrong}}" is not a valid field to query.\\n')
    sys.exit(2)
say(",".join("0x0000000000000008" if "reasons" in one else "50" for one in fields))
time.sleep(60)"""
    _install(tmp_path, "nvidia-smi", script)
    meter = _measure(wanted=1)
    reading = meter.reading()
    assert reading is not None
    assert reading.mean_w == 50.0
    assert meter.state().throttles == (None if known.startswith("nothing") else ("the GPU's hardware slowdown",))


def test_a_sensor_that_reports_zero_is_no_reading(tmp_path: Path) -> None:
    line = ORIN_NANO_JETPACK_6.replace("9876mW", "0mW")
    _install(tmp_path, "tegrastats", f"for _ in range(3):\n  say({line!r})")
    assert _measure(wanted=3, timeout_s=3).reading() is None


def test_after_a_tool_without_power_the_next_one_is_read(tmp_path: Path) -> None:
    _install(tmp_path, "tegrastats", "say('RAM 1/2MB CPU@40C')")
    _install(tmp_path, "nvidia-smi", "for _ in range(3):\n  say('9.50, 41, 3')\ntime.sleep(60)")
    assert _measure().reading() == PowerReading(9.5, 9.5, 41.0, "nvidia-smi (GPU 0)", 3)


def test_a_tool_that_was_stopped_early_is_reported_as_such(tmp_path: Path) -> None:
    _install(tmp_path, "nvidia-smi", "time.sleep(30)")
    with PowerMeter() as meter:
        deadline_s = time.monotonic() + 5
        while meter._process is None and time.monotonic() < deadline_s:
            time.sleep(0.01)
    assert meter.reading() is None
    assert "nvidia-smi reported no power in so short a time" in meter.why_not


def test_without_a_tool_there_is_a_reason_instead_of_a_reading() -> None:
    meter = _measure()
    assert meter.reading() is None
    assert "tegrastats: not installed; sysfs: no such files; nvidia-smi: not installed" in meter.why_not


def test_the_error_of_a_tool_is_the_reason_and_is_not_raised(tmp_path: Path) -> None:
    _install(tmp_path, "nvidia-smi", "say('NVIDIA-SMI has failed because it could not reach the driver')\nsys.exit(9)")
    meter = _measure()
    assert meter.reading() is None
    assert "could not reach the driver" in meter.why_not
    assert "\n" not in meter.why_not


def test_a_card_without_a_power_sensor_is_reported(tmp_path: Path) -> None:
    _install(tmp_path, "nvidia-smi", "say('[N/A], 50, 1')")
    meter = _measure()
    assert meter.reading() is None
    assert "nvidia-smi reported no power" in meter.why_not


def test_a_tool_that_will_not_end_is_killed(tmp_path: Path) -> None:
    _install(tmp_path, "tegrastats", f"import signal\nsignal.signal(15, signal.SIG_IGN)\nsay({NANO_JETPACK_4!r})\ntime.sleep(60)")
    reading = _measure(wanted=1).reading()
    assert reading is not None
    assert reading.mean_w == 3.812


def test_an_error_of_the_measured_work_is_raised(tmp_path: Path) -> None:
    _install(tmp_path, "tegrastats", "time.sleep(60)")
    with pytest.raises(ZeroDivisionError), PowerMeter(20):
        _ = 1 / 0


@pytest.mark.parametrize("is_old", [False, True])
def test_jtop_comes_first_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_old: bool) -> None:
    class Board:
        power = {"tot": {"power": 6500}}
        temperature = {"tj": {"temp": 51.0, "online": True}}
        stats = {"GPU": 12}
        memory = {"EMC": {"cur": 2133000}}

        def __init__(self, interval: float) -> None:
            assert interval == 0.02

        def __enter__(self) -> Board:
            return self

        def __exit__(self, *_exc: object) -> None: ...

        def ok(self) -> bool:
            time.sleep(0.005)
            return True

    if is_old:
        del Board.memory
    module = ModuleType("jtop")
    module.jtop = Board  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jtop", module)
    _install(tmp_path, "tegrastats", f"say({NANO_JETPACK_4!r})\ntime.sleep(60)")
    meter = _measure()
    reading = meter.reading()
    assert reading is not None
    assert (reading.mean_w, reading.max_temperature_c, reading.source) == (6.5, 51.0, "jtop (total)")
    assert meter.state().clocks_mhz.get("EMC", (None,))[0] == (None if is_old else 2133.0), "jtop before 4.0 does not tell"
