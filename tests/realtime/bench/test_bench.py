"""`run.py bench` as a user types it, over the real pipeline with a tiny network; and one repeat of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.models import zoo
from engines.pictures.raw import RawPicture
from realtime.bench.benching import Plan, _source_alone, bench
from realtime.bench.card import read_card, to_json
from realtime.bench.comparing import differences
from realtime.bench.making import mode_of
from realtime.bench.measuring import Bench, Job
from realtime.cli import main
from realtime.errors import SourceLostError
from realtime.settings import Settings
from realtime.sources.sample import find
from realtime.types import Frame

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

STREET = "synthetic://street?width=96&height=72&objects=3&seconds=0.5"


def job(tiny_model: Path, source: Any, rate_hz: float | None, *, seconds: float = 0.4, backend: str = "ort") -> Job:
    settings = Settings(model=str(tiny_model), backend=backend, width=160)
    return Job(settings, zoo.find(settings.model), source, rate_hz, seconds, 0.05)


def test_a_fixed_rate_is_kept_and_all_its_frames_are_counted(tiny_model: Path, MemorySource) -> None:
    repeat = Bench(job(tiny_model, lambda: MemorySource(20), 50.0, seconds=0.6)).measure()
    counts = repeat.counts
    assert repeat.fps <= 55
    assert counts.captured + counts.missed_by_the_feed == pytest.approx(repeat.seconds * 50, abs=10), "the clock gave so many"
    assert abs(counts.in_flight) <= 3
    assert counts.shown + counts.dropped_before_screen == pytest.approx(counts.processed, abs=3), (
        "two may wait to be drawn, one is being drawn"
    )
    assert {"preprocess", "inference", "decode", "track", "draw", "age"} <= set(repeat.samples_ms)
    assert len(repeat.samples_ms["age"]) == pytest.approx(counts.shown, abs=1), "the two are read one after the other"
    assert repeat.cpu_s > 0


def test_frames_are_counted_beyond_those_whose_times_are_kept(
    tiny_model: Path, MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.flow.meter.WINDOW", 4)
    counts = Bench(job(tiny_model, lambda: MemorySource(20), 50.0)).measure().counts
    assert counts.processed >= 10
    assert counts.shown + counts.dropped_before_screen == pytest.approx(counts.processed, abs=3)


def test_the_maximum_drops_nothing_and_ignores_the_recording_s_own_rate(tiny_model: Path, MemorySource) -> None:
    repeat = Bench(job(tiny_model, lambda: MemorySource(20, fps=1.0), None)).measure()
    counts = repeat.counts
    assert (counts.dropped_before_model, counts.dropped_before_screen, counts.missed_by_the_feed) == (0, 0, 0)
    assert repeat.fps > 2
    assert "read" in repeat.samples_ms


def test_frames_dropped_before_a_slow_model_are_counted(tiny_model: Path, MemorySource, plug_in: Any) -> None:
    import engines.backends

    plug_in(
        engines.backends,
        "sleepy",
        "import time\nfrom engines.backends.ort import OrtEngine\n"
        "class Sleepy(OrtEngine):\n    def infer(self, image):\n        time.sleep(0.05)\n        return super().infer(image)\n"
        "RANK, OPTIONS, TAKES_SIDE_INPUTS = 99, (), False\n"
        "def missing():\n    return None\n"
        "def open_engine(model, options):\n    return Sleepy(model)\n",
    )
    repeat = Bench(job(tiny_model, lambda: MemorySource(20), 100.0, backend="sleepy")).measure()
    assert repeat.fps < 21
    assert repeat.counts.dropped_before_model > 0
    assert repeat.counts.dropped_before_model + repeat.counts.missed_by_the_feed > repeat.counts.processed


def test_a_source_that_ends_is_an_error_and_leaves_no_thread(tiny_model: Path, MemorySource) -> None:
    with pytest.raises(SourceLostError, match="memory: ended during the measurement"):
        Bench(job(tiny_model, lambda: MemorySource(8, is_live=True, fps=200.0), 30.0, seconds=5.0)).measure()


def test_a_camera_has_no_maximum(tiny_model: Path, MemorySource) -> None:
    settings = Settings(model=str(tiny_model), backend="ort", width=160)
    said: list[str] = []
    open_camera = lambda: MemorySource(None, is_live=True, fps=60.0)  # noqa: E731
    plan = Plan(Job(settings, zoo.find(settings.model), open_camera, 30.0, 0.3, 0.1), 1, encodes=False)
    card = bench(plan, said.append)
    assert card.maximum is None
    assert card.source_alone is None
    assert card.fixed is not None
    assert card.method["rate_hz"] is None
    assert any("fixed" in line for line in said)


@pytest.mark.parametrize("takes", [frozenset({"bgrx"}), frozenset()])
def test_reading_a_raw_source_costs_a_conversion_where_the_engine_takes_none(
    tiny_model: Path, MemorySource, takes: frozenset[str]
) -> None:
    pictures: list[RawPicture] = []

    class Camera(MemorySource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                pictures.append(RawPicture("bgrx", (np.dstack([frame.image, frame.image[..., 0]]),)))
                yield replace(frame, picture=pictures[-1])

    assert _source_alone(job(tiny_model, lambda: Camera(4), None), takes) is not None
    converted = [picture.nbytes > sum(plane.nbytes for plane in picture.planes) for picture in pictures[1:]]
    assert converted == [not takes] * 3


@pytest.fixture(autouse=True)
def little_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.commands.common.benching.QUICK_WARM_UP_S", 0.02)


def bench_street(tiny_model: Path, *arguments: object) -> int:
    quick = ("--quick", "--seconds", "0.2", "--repeats", "2", "--backend", "ort", "--encode")
    return main(["bench", STREET, "--model", str(tiny_model), *quick, *map(str, arguments)])


def test_a_card_is_made_printed_drawn_and_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench_street(tiny_model) == 0
    folder = Path("out/bench")
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "card.md", "card.png"]
    card = json.loads((folder / "card.json").read_text())
    assert (card["model"]["name"], card["model"]["precision"], card["source"]["size"]) == ("tiny", "fp32", "96x72")
    assert card["fixed"]["stages"]["write"]["count"] > 0, "it was encoded"
    assert len(card["maximum"]["figures"]["fps"]["repeats"]) == 2
    assert differences(read_card(folder / "card.json"), read_card(folder / "card.json")) == []
    assert cv2.imread(str(folder / "card.png")).shape[1] == 1280
    printed = capsys.readouterr()
    assert "frames through the model" in printed.out
    assert "maximum 2/2" in printed.err


@pytest.fixture
def against(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_card: Any, make_repeat: Any
) -> Callable[..., int]:
    """The exit code of a bench whose baseline, on another machine, is three repeats at the maximum with these facts."""
    monkeypatch.chdir(tmp_path)

    def code(**facts: float) -> int:
        maximum = mode_of([make_repeat(**facts)] * 3, "as fast as can be", is_live=False)
        Path("fast.json").write_bytes(to_json(make_card(fixed=None, maximum=maximum)))
        return bench_street(tiny_model, "--baseline", "fast.json", "--force")

    return code


def test_a_regression_ends_with_one_and_force_compares_different_machines(
    against: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert against(fps=1e6, others_cores=99.0) == 1
    printed = capsys.readouterr()
    assert "worse    maximum, frames through the model: 1e+06 ->" in printed.out
    assert "figures are worse than in fast.json" in printed.out
    assert "warning: compared although different: machine processor" in printed.err
    assert "-100.0 %" in Path("out/bench/card.md").read_text()


def test_figures_that_other_programs_may_have_slowed_end_with_three(
    against: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    # Less load of others than any machine's can be.
    assert against(fps=1e6, others_cores=-1.0, cpu_s=1e3, rss_peak_mb=1e4) == 3
    assert "figures look worse, but other programs were busier" in capsys.readouterr().out


def test_a_card_of_another_machine_is_not_compared(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_card: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_bytes(to_json(make_card()))
    assert bench_street(tiny_model, "--baseline", "other.json", "--out", "new") == 2
    printed = capsys.readouterr().err
    assert "error: other.json: a card of something else, so not compared: machine processor" in printed
    assert "fixed" not in printed, "it is refused before the modes are measured"
    assert not Path("new").exists()


def test_its_source_is_looked_at_as_that_of_view_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(find("carphone", "carphone")), "--baseline", str(tmp_path / "none.json")]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("It shows people near the camera: the preset is webcam")
    assert "none.json: cannot be read" in last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline", "none.json"], "none.json: cannot be read"),
        (["--baseline", "old/card.json", "--out", "old"], "the new card would overwrite it"),
        (["--baseline", "old/card.json", "--repeats", "1"], "one repeat does not show the noise"),
        (["--baseline", "single.json"], "single.json: made with one repeat"),
        (["--baseline", "bare.json"], "bare.json: has no figures"),
        (["--out", "single.json/new"], "single.json/new: the card cannot be written (Not a directory). Name another folder"),
        (["--model", "nosuch"], 'no model "nosuch"'),
        (["nosuch.mp4"], "nosuch.mp4: no such file"),
    ],
    ids=["no-baseline", "overwritten", "one-repeat", "of-one-repeat", "no-figures", "no-folder", "model", "source"],
)
def test_mistakes_are_one_line_before_anything_is_measured(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_card: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old").mkdir()
    Path("old/card.json").write_bytes(to_json(make_card()))
    Path("single.json").write_bytes(to_json(make_card((25.0,))))
    Path("bare.json").write_bytes(to_json(make_card(fixed=None, maximum=None)))
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not Path("out").exists()
