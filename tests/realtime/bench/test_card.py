"""Cards: figures from repeats, checked files, the comparison, the report and the chart."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from realtime.bench.card import FORMAT, Counts, figure, read_card, settings_facts, to_json
from realtime.bench.chart import chart
from realtime.bench.comparing import compare, differences
from realtime.bench.making import mode_of, notes_on
from realtime.bench.power import GpuReading, PowerReading
from realtime.bench.report import markdown
from realtime.errors import BenchError
from realtime.settings import Settings


def test_a_figure_is_the_median_and_its_range() -> None:
    one = figure([3.0, 1.0, 2.0], "ms")
    assert (one.median, one.low, one.high, one.repeats) == (2.0, 1.0, 3.0, (3.0, 1.0, 2.0))


def test_a_mode_s_figures_are_of_its_counts(make_repeat) -> None:
    mode = mode_of([make_repeat(), make_repeat(fps=27.0)], "somehow", is_live=True)
    medians = {name: one.median for name, one in mode.figures.items()}
    assert medians["fps"] == 26.0
    assert medians["shown_fps"] == 23.5
    assert medians["cpu_per_frame"] == 100.0
    assert medians["cpu_cores"] == 2.5
    assert medians["dropped_share"] == pytest.approx(100 * 11 / 62, abs=1e-3), "dropped before the model, and missed by the feed"
    assert medians["age_p50"] == 64.0
    counts = mode.doors
    assert (counts.captured, counts.processed, counts.dropped_before_model, counts.in_flight) == (120, 100, 18, 2)
    assert (counts.shown, counts.dropped_before_screen, counts.missed_by_the_feed) == (94, 6, 4)
    assert list(mode.stages) == ["read", "inference"], "as a frame passes them"
    assert (mode.stages["inference"].p50_ms, mode.stages["inference"].count) == (50.5, 200)
    assert mode.unreadable["power"] == "no power figure here"


def test_at_the_maximum_frames_have_no_age(make_repeat) -> None:
    mode = mode_of([make_repeat()], "somehow", is_live=False)
    assert mode.age is None
    assert not {"age_p50", "dropped_share", "shown_fps"} & set(mode.figures)


def test_masks_have_an_age_where_they_are_moved_to_newer_frames(make_repeat) -> None:
    times = make_repeat().samples_ms
    own = make_repeat(samples_ms={**times, "mask age": np.zeros(47)})
    carried = make_repeat(samples_ms={**times, "mask age": np.arange(100.0, 147.0)})
    assert mode_of([own], "somehow", is_live=True).mask_age is None
    mode = mode_of([carried], "somehow", is_live=True)
    assert mode.figures["mask_age_p50"].median == 123.0
    assert mode.mask_age is not None
    assert (mode.mask_age.p50_ms, "mask age" in mode.stages) == (123.0, False)


def test_power_and_gpu_are_figures_where_they_are_reported(make_repeat) -> None:
    power = PowerReading(10.0, 12.0, None, "tegrastats (VDD_IN)", 9)
    repeat = make_repeat(power=power, gpu=GpuReading(80.0, 512.0, "tegrastats", 9), cpu_joules=5.0)
    mode = mode_of([repeat, repeat], "somehow", is_live=True)
    assert mode.figures["energy_per_frame"].median == pytest.approx(0.4)
    assert mode.figures["cpu_energy_per_frame"].median == pytest.approx(0.1)
    assert (mode.figures["gpu_load"].median, mode.figures["gpu_memory"].median) == (80.0, 512.0)
    assert not {"power", "gpu_load"} & set(mode.unreadable)
    assert "power" not in mode_of([repeat, make_repeat()], "somehow", is_live=True).figures, "not from some of the repeats"


def test_notes_mention_a_busy_machine_and_the_source_s_own_work(make_card) -> None:
    notes = " ".join(notes_on(make_card()))
    assert "Other programs used 0.5 of 4 cores" in notes
    assert "too late for 6 frames" in notes
    assert "2.5 ms of CPU per frame" in notes


def test_notes_on_the_slope_of_memory(make_card, make_repeat) -> None:
    def notes(*slopes: float) -> str:
        repeats = [make_repeat(rss_slope=slope, rss_peak_mb=300 + 50 * index) for index, slope in enumerate(slopes)]
        return " ".join(notes_on(make_card(fixed=mode_of(repeats, "somehow", is_live=True), maximum=None)))

    assert "no steady growth; any above 30.0 MB a minute would have been noticed" in notes(0.0, 30.0, 1.0)
    assert "Memory grew in every repeat, by up to 90 MB a minute" in notes(60.0, 90.0, 70.0)
    assert "growth" not in notes(0.0, 1.0), "two repeats do not tell"
    assert "A single run takes 300 MB at its peak" in notes(0.0, 0.0, 0.0)


def test_a_card_is_read_back_from_its_file(make_card, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(to_json(make_card()))
    assert read_card(path) == make_card()
    assert json.loads(path.read_text())["maximum"]["figures"]["fps"]["median"] == 25.0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "not a card of run.py bench"),
        (b'{"format": 1}', "not a card of run.py bench"),
        (b'{"format": 99, "fixed": null, "maximum": null}', f"format 99, but this version reads {FORMAT}"),
        (b'{"format": 1, "fixed": 3, "maximum": null}', "a damaged card"),
    ],
    ids=["cut", "bytes", "deep", "list", "other", "newer", "damaged"],
)
def test_other_files_are_errors_of_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=words) as caught:
        read_card(path)
    assert "\n" not in str(caught.value)


def test_a_missing_card_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot be read .*Name a card\.json"):
        read_card(tmp_path / "none.json")


def verdicts(changes) -> dict[str, str]:
    return {f"{one.mode} {one.name}": one.verdict for one in changes if one.verdict != "same"}


def test_slower_in_every_repeat_is_worse_and_faster_better(make_card) -> None:
    before, slow, fast = make_card((24.0, 25.0, 26.0)), make_card((20.0, 21.0, 22.0)), make_card((30.0, 31.0, 32.0))
    assert verdicts(compare(slow, before)) == {"maximum fps": "worse"}
    assert verdicts(compare(fast, before)) == {"maximum fps": "better"}
    assert verdicts(compare(before, before)) == {}


def test_a_difference_within_the_repeats_spread_is_noise(make_card) -> None:
    assert verdicts(compare(make_card((15.0, 20.0, 24.5)), make_card((24.0, 25.0, 26.0)))) == {}


def test_a_small_difference_does_not_count_even_in_every_repeat(make_card) -> None:
    before, now = make_card((25.0, 25.0, 25.0)), make_card((24.0, 24.0, 24.0))
    assert verdicts(compare(now, before)) == {}
    assert verdicts(compare(now, before, tolerance_percent=3)) == {"maximum fps": "worse"}


def test_older_frames_and_more_cpu_are_worse(make_card, make_repeat) -> None:
    older = make_repeat(samples_ms={"age": np.arange(141.0, 188.0)}, cpu_s=8.0)
    now = make_card(fixed=mode_of([older] * 3, "somehow", is_live=True))
    assert verdicts(compare(now, make_card())) == {
        "fixed age_p50": "worse",
        "fixed age_p95": "worse",
        "fixed cpu_per_frame": "worse",
    }
    assert "fixed rss" not in verdicts(compare(make_card(fixed=None), make_card())), "what one card lacks is not judged"


def loaded(make_card, make_repeat, others_cores: float, **changed):
    repeats = [make_repeat(others_cores=others_cores, **changed)] * 3
    return make_card(fixed=mode_of(repeats, "somehow", is_live=True), maximum=None)


def test_figures_that_other_programs_may_have_changed_get_a_question_mark(make_card, make_repeat) -> None:
    quiet, slow = loaded(make_card, make_repeat, 0.1), {"fps": 15.0, "cpu_s": 8.0}
    assert verdicts(compare(loaded(make_card, make_repeat, 0.15, **slow), quiet)) == {
        "fixed fps": "worse",
        "fixed cpu_per_frame": "worse",
    }
    busy = loaded(make_card, make_repeat, 1.5, **slow)
    assert verdicts(compare(busy, quiet)) == {"fixed fps": "worse?", "fixed cpu_per_frame": "worse"}
    assert verdicts(compare(quiet, busy)) == {"fixed fps": "better?", "fixed cpu_per_frame": "better"}
    slower_though_quiet = loaded(make_card, make_repeat, 0.1, fps=10.0)
    assert verdicts(compare(slower_though_quiet, busy))["fixed fps"] == "worse"


@pytest.mark.parametrize(("before", "now", "verdict"), [(0.1, 0.25, "worse"), (1.4, 1.55, "worse?")], ids=["room", "full"])
def test_on_full_cores_a_little_more_load_counts(make_card, make_repeat, before, now, verdict) -> None:
    slower = loaded(make_card, make_repeat, now, fps=22.0)
    assert verdicts(compare(slower, loaded(make_card, make_repeat, before))) == {"fixed fps": verdict}


def test_a_little_more_load_on_many_cores_does_not_count(make_card, make_repeat) -> None:
    before, now = loaded(make_card, make_repeat, 0.1), loaded(make_card, make_repeat, 0.9, fps=15.0)
    assert verdicts(compare(now, before)) == {"fixed fps": "worse?"}
    many = msgspec.structs.replace(now, machine={**now.machine, "cores": "32"})
    assert verdicts(compare(many, before)) == {"fixed fps": "worse"}


def test_memory_is_compared_by_its_slope_and_by_the_peak_of_as_many_repeats(make_card, make_repeat) -> None:
    def card(count: int, **changed):
        return make_card(fixed=mode_of([make_repeat(**changed)] * count, "somehow", is_live=True), maximum=None)

    before, grown = card(3), {"rss_peak_mb": 400.0, "rss_slope": 60.0}
    assert verdicts(compare(card(3, **grown), before)) == {"fixed memory_peak": "worse", "fixed memory_slope": "worse"}
    assert verdicts(compare(card(5, **grown), before)) == {"fixed memory_slope": "worse"}


def test_a_difference_is_in_per_cent_or_points_and_absolute_from_zero(make_card, make_repeat) -> None:
    calm = mode_of([make_repeat(counts=Counts(50, 50, 0, 0, 50, 0, 0), rss_slope=0.0)] * 3, "somehow", is_live=True)
    changes = {one.name: one.text for one in compare(make_card(), make_card(fixed=calm)) if one.mode == "fixed"}
    assert (changes["dropped_share"], changes["memory_slope"], changes["fps"]) == ("+17.7 points", "+1.5", "+0.0 %")


def test_cards_of_different_things_are_not_compared(make_card) -> None:
    card = make_card()
    assert differences(card, make_card(date="2020-01-01", versions={"python": "3.10"})) == []
    other = msgspec.structs.replace(card.model, sha256="cd" * 32)
    assert differences(card, make_card(model=other)) == [f"model road {'ab' * 6} (was road {'cd' * 6})"]
    machine = {**card.machine, "processor": "Another CPU"}
    assert differences(card, make_card(machine=machine)) == ["machine processor Some CPU (avx2) (was Another CPU)"]
    assert differences(card, make_card(settings={"tracker": "none", "width": 1280})) == ["settings tracker bytetrack (was none)"]


def test_a_card_from_before_a_setting_is_compared_with_its_default(make_card) -> None:
    now = settings_facts(Settings())
    before = {key: value for key, value in now.items() if key != "overlay"}
    before["engine"] = {key: value for key, value in now["engine"].items() if key != "inflight"}
    assert differences(make_card(settings=now), make_card(settings=before)) == []
    live = make_card(settings={**now, "overlay": "live"})
    assert differences(live, make_card(settings=before)) == ["settings overlay live (was locked)"]
    two = make_card(settings={**now, "engine": {**now["engine"], "inflight": 2}})
    assert len(differences(two, make_card(settings=before))) == 1
    one = make_card(settings={**now, "engine": {**now["engine"], "inflight": 1}})
    assert differences(make_card(settings=now), one) == [], "as a card of before says on a CPU"
    on_gpu = msgspec.structs.replace(one.model, backend="trt")
    assert len(differences(make_card(settings=now, model=on_gpu), make_card(settings=one.settings, model=on_gpu))) == 1


def test_the_report_has_the_facts_that_figures_depend_on(make_card) -> None:
    before, now = make_card(), make_card((20.0, 21.0, 22.0))
    text = markdown(now, compare(now, before), "old/card.json")
    for word in (
        "Some CPU (avx2)",
        "OpenVINO 2026.4, CPU, bf16",
        "abc1234",
        "not readable",
        "inference",
        "ab" * 32,
        "3 repeats of",
        "handed to the screen",
    ):
        assert word in text
    assert "| maximum | frames through the model | 25 frames/s | 21 frames/s | -16.0 % | worse |" in text
    assert (
        "180 captured = 150 processed + 27 dropped before the model + 3 more in flight at the end; 141 shown, 9 dropped" in text
    )
    assert "3 more in flight at the end; 141 drawn." in text, "at the maximum there is no screen"


def test_a_camera_s_rate_is_called_live(make_card) -> None:
    card = make_card(maximum=None)
    live = make_card(maximum=None, method={**card.method, "rate_hz": None})
    assert "## Fixed rate: " in markdown(card)
    assert "## Live: " in markdown(live)
    assert not np.array_equal(chart(card), chart(live))


def test_the_chart_draws_every_part_and_grows_with_it(make_card) -> None:
    card, slow = make_card(), make_card((20.0, 21.0, 22.0))
    plain, compared = chart(card), chart(slow, compare(slow, card))
    alone = chart(make_card(maximum=None))
    for picture in (plain, compared, alone):
        assert (picture.dtype, picture.shape[1:]) == (np.uint8, (1280, 3))
    assert compared.shape[0] > plain.shape[0]
    blue, orange = (np.all(plain == colour, axis=2) for colour in ((178, 114, 0), (0, 159, 230)))
    assert blue[:, :640].any(), "bars to the median, of both modes"
    assert blue[:, 640:].any()
    assert orange.sum() > 500, "bars to the 95th percentile, and dropped frames"
    assert not np.array_equal(chart(slow), plain), "the figures are in it"


def test_a_chart_with_a_very_long_name_is_drawn(make_card) -> None:
    source = msgspec.structs.replace(make_card().source, name="rtsp://camera/" + "x" * 400)
    assert chart(make_card(source=source)).shape[1] == 1280
