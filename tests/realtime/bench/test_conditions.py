"""What the card says of the machine while it measured: clocks, temperatures, throttling; from a folder like a Jetson's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.bench import conditions
from realtime.bench.card import Card, ClockRange, Conditions, SourceFacts, Temperature, read_card, to_json
from realtime.bench.chart import chart
from realtime.bench.conditions import Watch
from realtime.bench.making import notes_on
from realtime.bench.power import StateReading
from realtime.bench.report import markdown

Write = Callable[..., None]

NOTHING = StateReading({}, None, ())


@pytest.fixture(autouse=True)
def every_look_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "LOOK_S", 0.0)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Sets files of an Orin: GPU in MHz, temperature in C, state of its throttle alert, count of over-current events."""

    def put(gpu: int = 1020, limit: int = 1020, heat: float = 50.0, alert: int = 0, events: int = 7) -> None:
        files = {
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n",
            "sys/class/devfreq/17000000.gpu/cur_freq": gpu * 1_000_000,
            "sys/class/devfreq/17000000.gpu/max_freq": limit * 1_000_000,
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 1_510_400,
            "sys/class/thermal/thermal_zone0/type": "tj-thermal",
            "sys/class/thermal/thermal_zone0/temp": round(heat * 1000),
            "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert",
            "sys/class/thermal/cooling_device1/cur_state": alert,
            "sys/class/hwmon/hwmon3/oc3_event_cnt": events,
        }
        for name, value in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")

    return put


def test_a_cool_board_is_reported_with_its_clocks_and_temperatures(write: Write, tmp_path: Path) -> None:
    write()
    watch = Watch(tmp_path)
    for gpu, heat in ((306, 51.0), (1020, 64.5), (900, 62.0)):
        write(gpu, heat=heat)
        watch.look()
        watch.take(NOTHING)
    write(heat=60.0)
    assert watch.conditions() == Conditions(
        clocks={"GPU": ClockRange(900.0, 306.0, 1020.0, 1020.0), "CPU": ClockRange(1510.4, 1510.4, 1510.4, None)},
        temperatures={"tj-thermal": Temperature(50.0, 60.0, 64.5)},
        throttled=(),
        unreadable={"clock of EMC": "readable by root only; tegrastats or jetson-stats may report it, and did not"},
    )


def test_whatever_lowered_the_clocks_is_named(write: Write, tmp_path: Path) -> None:
    write()
    watch = Watch(tmp_path)
    watch.look()
    write(612, limit=612, alert=1)
    watch.look()
    write(events=12)
    assert watch.conditions().throttled == ("gpu-throttle-alert", "GPU limited to 612 of 1020 MHz", "over-current, 5 times")


def test_cores_that_take_turns_are_not_throttled(write: Write, tmp_path: Path) -> None:
    write()
    watch = Watch(tmp_path)
    for fast, slow in ((5100, 800), (800, 3900)):
        for core, (now_mhz, limit_mhz) in enumerate(((fast, 5200), (slow, 3900))):
            folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "scaling_cur_freq").write_text(f"{now_mhz * 1000}\n")
            (folder / "scaling_max_freq").write_text(f"{limit_mhz * 1000}\n")
        watch.look()
    found = watch.conditions()
    assert (found.throttled, found.clocks["CPU"].limit_mhz) == ((), 5200.0)


def test_where_nothing_reports_it_it_is_unknown_and_not_denied(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.look()
    watch.take(NOTHING)
    found = watch.conditions()
    assert (found.throttled, found.clocks, found.temperatures) == (None, {}, {})
    assert set(found.unreadable) == {"clock of CPU", "temperatures", "throttling"}


def test_a_graphics_card_and_jtop_add_what_the_system_s_files_lack(write: Write, tmp_path: Path) -> None:
    write()
    watch = Watch(tmp_path)
    watch.look()
    for mhz in (1900.0, 1500.0):
        watch.take(
            StateReading(
                {"GPU memory": (7001.0, mhz), "EMC": (2133.0,), "GPU": (5.0,)},
                ("the GPU's power limit",),
                (60.0, mhz / 25),
                "jtop (total)",
            )
        )
    found = watch.conditions()
    assert found.clocks["GPU memory"] == ClockRange(4450.5, 1500.0, 7001.0, None)
    assert found.clocks["EMC"].median_mhz == 2133.0
    assert found.clocks["GPU"].median_mhz == 1020.0, "the system's own file knows the limit as well"
    assert found.temperatures["GPU"] == Temperature(60.0, 60.0, 76.0)
    assert found.throttled == ("the GPU's power limit",)
    assert found.power_source == "jtop (total)"


def test_the_card_says_it_in_every_form(make_card: Callable[..., Card], tmp_path: Path) -> None:
    hot = Conditions(
        {"GPU": ClockRange(900.0, 306.0, 1020.0, 1020.0)},
        {"tj-thermal": Temperature(None, 97.0, 99.5)},
        ("gpu-throttle-alert",),
        {"clock of EMC": "readable by root only"},
        "tegrastats (VDD_IN)",
    )
    card = make_card(conditions=hot, source=SourceFacts("clip.mp4", "1280x720", 25.0, "NVDEC"))
    text = markdown(card)
    assert "| source | clip.mp4, 1280x720, decoded by NVDEC |" in text
    assert "| clock of GPU | 900 MHz (306 to 1020, limit 1020) |" in text
    assert "| tj-thermal | ? °C before, 97 after, 100 at most |" in text
    assert "| power and energy | by tegrastats (VDD_IN) |" in text
    assert "| throttling | gpu-throttle-alert |" in text
    assert "| clock of EMC | not readable: readable by root only |" in text
    assert "Clocks were lowered meanwhile (gpu-throttle-alert)" in " ".join(notes_on(card))
    board = make_card(conditions=hot, machine={"processor": "ARMv8", "cores": "6", "power mode": "25W (1)"})
    assert chart(board).shape[0] > chart(card).shape[0] > chart(make_card()).shape[0], "a line each"
    (tmp_path / "card.json").write_bytes(to_json(card))
    assert read_card(tmp_path / "card.json") == card


def test_a_card_of_before_is_still_read(make_card: Callable[..., Card], tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    text = to_json(make_card()).decode()
    for line in ('"engine": null', '"conditions": null', '"input_reason": ""', '"decoder": ""'):
        assert line in text
        text = text.replace(f",\n  {line}", "").replace(f",\n    {line}", "")
    path.write_text(text)
    assert read_card(path) == make_card()
