"""`run.py evaluate --tracks` as a user types it, on tracks with scores worked out by hand."""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from engines.errors import DataError
from engines.types import Instances, Segmentation
from realtime.cli import main
from realtime.judging.files import read_tracks, read_truth
from realtime.sinks.mot import MotSink
from realtime.types import Canvas, Frame, Result, Track

FAR = 500
"""Pixels; far enough to overlap with no other box."""


def line(frame: int, track_id: int, x: float = 0, *rest: object) -> str:
    """A box of 10 x 10 px."""
    return ",".join(map(str, (frame, track_id, x, 0, 10, 10, *rest)))


TRUE_A = [line(frame, 1, 0, 1, -1, -1, -1) for frame in (1, 2, 3, 4)]
SWITCHED = [line(1, 5, 0, 0.9, 1, -1), line(2, 5, 0, 0.9, 1, -1), line(3, 6, 0, 0.9, 1, -1), line(4, 6, 0, 0.9, 1, -1)]
"""One object, found in all four frames, under another id from the third one on: HOTA is the root of 1 * 1/2."""

TRUE_B = [line(frame, track_id, 100 * track_id, 1, -1, -1, -1) for frame in (1, 2, 3, 4) for track_id in (1, 2)]
LOST = [line(frame, 7, 100, 0.9, 1, -1) for frame in (1, 2, 4)] + [line(frame, 8, 200, 0.9, 1, -1) for frame in (1, 2, 3, 4)]
LOST += [line(2, 9, FAR, 0.9, 1, -1)]
"""Two objects, one of them missing in a frame, and a false positive: 7 hits, 1 miss, 1 false positive, 1 fragment."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write_lines(name: str, lines: list[str]) -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return name

    return write_lines


def judged(*arguments: str) -> dict[str, object]:
    """The JSON of a run that succeeds."""
    assert main(["evaluate", *arguments, "--json", "figures.json"]) == 0
    return json.loads(Path("figures.json").read_text())


def test_scores_are_those_worked_out_by_hand(write, capsys: pytest.CaptureFixture[str]) -> None:
    facts = judged(
        "--tracks", write("a/gt/gt.txt", TRUE_A), "--mot", write("a.txt", SWITCHED),
        "--tracks", write("b/gt.txt", TRUE_B), "--mot", write("b.txt", LOST),
    )  # fmt: skip
    of_a, of_b = (clip["figures"] for clip in facts["clips"])
    assert of_a["hota"] == pytest.approx(math.sqrt(1 / 2), abs=1e-6)
    assert (of_a["det_a"], of_a["ass_a"], of_a["loc_a"]) == (1, 0.5, 1)
    assert (of_a["idf1"], of_a["idp"], of_a["idr"]) == (0.5, 0.5, 0.5), "one of the two tracks can be the object's: 2 of 4"
    assert of_a["mota"] == 1 - 1 / 4, "one switch in four boxes"
    assert (of_a["switches"], of_a["fragments"], of_a["misses"], of_a["false_alarms"]) == (1, 0, 0, 0)

    assert of_b["det_a"] == pytest.approx(7 / 9, abs=1e-6)
    assert of_b["ass_a"] == pytest.approx((3 * 3 / 4 + 4) / 7, abs=1e-6)
    assert of_b["hota"] == pytest.approx(2.5 / 3, abs=1e-6)
    assert (of_b["idf1"], of_b["idp"], of_b["idr"]) == (7 / 8, 7 / 8, 7 / 8)
    assert of_b["mota"] == 1 - 2 / 8
    assert (of_b["switches"], of_b["fragments"], of_b["misses"], of_b["false_alarms"]) == (0, 1, 1, 1)

    both = facts["together"]
    assert both["hota"] == pytest.approx(math.sqrt(11 / 13 * (4 * 0.5 + 6.25) / 11), abs=1e-6)
    assert (both["idf1"], both["mota"]) == (9 / 12, 1 - 3 / 12)
    assert (both["frames"], both["true_boxes"], both["true_ids"], both["found_ids"]) == (8, 12, 3, 5)

    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("scored by   TrackEval ")
    assert "a: 4 frames, 4 true boxes of 1 objects, 4 found of 2 tracks, class 1" in printed
    (row,) = [row.split() for row in printed if row.startswith("together")]
    assert row[1:6] == ["79.7", "84.6", "75.0", "100.0", "75.0"]
    assert facts["versions"]["trackeval"]


def test_a_shifted_box_hits_at_low_overlaps_only(write) -> None:
    """Shifted by 2 of 10 px, the overlap is 2/3: a hit for 13 of HOTA's 19 overlaps, and for MOTA's one half."""
    facts = judged("--tracks", write("t.txt", TRUE_A), "--mot", write("r.txt", [line(frame, 3, 2) for frame in (1, 2, 3, 4)]))
    of = facts["clips"][0]["figures"]
    assert (of["hota"], of["det_a"]) == (pytest.approx(13 / 19, abs=1e-6), pytest.approx(13 / 19, abs=1e-6))
    assert (of["mota"], of["idf1"]) == (1, 1)


def test_gaps_of_a_live_run_count_as_missed_unless_they_are_skipped(write, capsys: pytest.CaptureFixture[str]) -> None:
    pair = ("--tracks", write("t.txt", TRUE_A), "--mot", write("r.txt", [line(frame, 3) for frame in (1, 3)]))
    whole = judged(*pair)["together"]
    assert (whole["frames"], whole["misses"], whole["mota"], whole["idf1"]) == (4, 2, 0.5, pytest.approx(2 / 3, abs=1e-6))
    assert "rows for 2 of 4 frames; the others count as missed (not with --skip-gaps)" in capsys.readouterr().out
    skipped = judged(*pair, "--skip-gaps")
    assert skipped["skips_gaps"] is True
    assert (skipped["together"]["frames"], skipped["together"]["misses"], skipped["together"]["hota"]) == (2, 0, 1)


def test_ignored_ground_truth_and_distractors_are_not_errors(write) -> None:
    """A detection of class 8, a distractor, is not a false positive. A row with 0 is not missed; detections of it are wrong."""
    true = [line(frame, 1, 0, 1, 1, 1.0) for frame in (1, 2)] + [line(1, 2, 100, 1, 8, 1.0), line(2, 3, 200, 0, 1, 1.0)]
    found = [line(frame, 4, 0, 0.9, 1, -1) for frame in (1, 2)] + [line(1, 5, 100, 0.9, 1, -1)]
    of = judged("--tracks", write("t.txt", true), "--mot", write("r.txt", found))["together"]
    assert (of["true_boxes"], of["found_boxes"], of["false_alarms"], of["misses"], of["hota"]) == (2, 2, 0, 0, 1)
    of = judged("--tracks", write("t.txt", true), "--mot", write("r.txt", [*found, line(2, 6, 200, 0.9, 1, -1)]))["together"]
    assert (of["false_alarms"], of["misses"], of["mota"]) == (1, 0, 0.5)


def test_other_classes_do_not_count(write, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    found = [*(line(frame, 3, 0, 0.9, 1, -1) for frame in (1, 2, 3, 4)), line(1, 4, FAR, 0.9, 3, -1)]
    pair = ("--tracks", write("t.txt", TRUE_A), "--mot", write("r.txt", found))
    assert judged(*pair)["together"]["false_alarms"] == 0
    assert "1 of the result's 5 rows are of other classes and do not count" in capsys.readouterr().out
    assert judged(*pair, "--classes", "person,car")["together"]["false_alarms"] == 1
    assert "does not name its classes, so that person and car is taken for COCO's" in caplog.text
    assert judged(*pair, "--classes", "1=3")["together"]["misses"] == 4


def test_objects_match_within_their_class_only(write) -> None:
    true = [line(frame, 1, 0, 1, 1, 1.0) for frame in (1, 2)] + [line(frame, 2, 100, 1, 3, 1.0) for frame in (1, 2)]
    found = [line(frame, 1, 0, 0.9, 1, -1) for frame in (1, 2)] + [line(1, 2, 100, 0.9, 3, -1), line(2, 2, 100, 0.9, 1, -1)]
    of = judged("--tracks", write("t.txt", true), "--mot", write("r.txt", found))
    assert of["clips"][0]["classes"] == [{"truth": 1, "result": 1}, {"truth": 3, "result": 3}]
    assert (of["together"]["misses"], of["together"]["false_alarms"]) == (1, 1)


def test_class_names_are_the_model_s(write, tiny_model: Path) -> None:
    """The tiny model knows ground, car and person: its people are class 3."""
    found = [line(frame, 3, 0, 0.9, 3, -1) for frame in (1, 2, 3, 4)]
    facts = judged(str(tiny_model), "--tracks", write("t.txt", TRUE_A), "--mot", write("r.txt", found))
    assert facts["clips"][0]["classes"] == [{"truth": 1, "result": 3}]
    assert facts["together"]["hota"] == 1


def test_the_length_of_a_clip_is_that_in_seqinfo(write, capsys: pytest.CaptureFixture[str]) -> None:
    write("clip/gt/gt.txt", TRUE_A)
    write("clip/seqinfo.ini", ["[Sequence]", "name=clip", "seqLength=6"])
    found = [line(frame, 3) for frame in range(1, 7)]
    of = judged("--tracks", "clip", "--mot", write("r.txt", found))["together"]
    assert (of["frames"], of["false_alarms"]) == (6, 2), "there is no object in the last two frames"
    Path("clip/seqinfo.ini").unlink()
    of = judged("--tracks", "clip", "--mot", "r.txt")["together"]
    assert (of["frames"], of["false_alarms"]) == (4, 0)
    assert "2 rows after frame 4, the last one with a true object, do not count" in capsys.readouterr().out


def test_what_process_writes_is_read(tmp_path: Path) -> None:
    sink, image = MotSink(tmp_path / "r.txt"), np.zeros((8, 8, 3), np.uint8)
    box = np.array((1, 2, 4, 8), np.float32)
    tracks = (Track(7, 0, 0.5, box, 0, np.zeros((1, 2), np.float32)), Track(8, 2, 0.5, box, None, np.zeros((1, 2), np.float32)))
    nothing = Segmentation(Instances(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), image[..., 0]))
    sink.write(Result(Frame(image, 4, 0.0, 0), nothing, tracks), Canvas(image, 4, 0.0, 0))
    sink.close()
    rows = read_tracks(tmp_path / "r.txt")
    assert (rows.frames.tolist(), rows.ids.tolist(), rows.classes.tolist()) == ([5], [7], [1])
    assert rows.boxes_px.tolist() == [[1, 2, 3, 6]]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "has no tracks"),
        (["a picture"], "line 1: has 2 columns, fewer than 6. The format is frame,id,x"),
        (["1,1,0,0,10,ten"], 'line 1: "ten" is not a number'),
        ([line(1, 1), line(2, 1, 0, 1)], "line 2: has 7 columns, the lines before it 6. The file may be incomplete"),
        ([line(1, 1), "", line(1, 2), line(1, 1, 50)], "line 4: id 1 occurs twice in frame 1"),
        ([line(0, 1)], "line 1: frame 0, but MOTChallenge counts from 1. Add 1 to every frame"),
        ([line(1, -1)], "line 1: id -1: these are detections (det.txt), not tracks"),
        ([line(1, 1), "2,1,50,50,-10,10"], "line 2: width or height is not above 0"),
        ([line(1, 1), line(2, 1, float("nan"))], "line 2: has NaN or infinity"),
        (["1.5,1,0,0,10,10"], "line 1: frame and id are not whole numbers"),
        ([line(11, 1)], "no frame in common: t.txt has 1 to 4 and r.txt has 11 to 11"),
        ([line(1, 1, 0, 0.9, 12, -1)], "r.txt: has no track of class 1, but of 12. Map its classes with --classes"),
    ],
)
def test_an_invalid_result_is_an_error_of_one_line(
    write, capsys: pytest.CaptureFixture[str], lines: list[str], words: str
) -> None:
    assert main(["evaluate", "--tracks", write("t.txt", TRUE_A), "--mot", write("r.txt", lines)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert words in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tracks", "t.txt", "--mot", "none.txt"], "none.txt: no such file. Write tracks with run.py process"),
        (["--tracks", ".", "--mot", "t.txt"], ": has neither gt/gt.txt nor gt.txt"),
        (["--tracks", "t.txt", "--mot", "binary.txt"], "binary.txt: not a text file"),
        (["--tracks", "t.txt"], "1 --tracks and 0 --mot. Give them in pairs"),
        (["--mot", "t.txt"], "for tracks. Name the true tracks with --tracks GT"),
        (["--tracks", "t.txt", "--mot", "t.txt", "--data", "x", "--limit", "2"], "--tracks with options for images or engines"),
        (["--tracks", "t.txt", "--mot", "t.txt", "--classes", "persn"], 'has no class "persn"'),
        (["--tracks", "t.txt", "--mot", "t.txt", "--classes", "1,"], '"" is not a class'),
        (["--tracks", "t.txt", "--mot", "t.txt", "--json", "."], "--json .: is a folder"),
        (["--tracks", "ends/gt/gt.txt", "--mot", "t.txt"], "has frame 4, but seqinfo.ini says the clip has 3"),
        (["--tracks", "odd/gt.txt", "--mot", "t.txt"], "seqinfo.ini: cannot be read"),
        ([], "no model and no labelled images to score"),
        (["road"], "no labelled images to score. For a model: evaluate MODEL --data DIR"),
        (["--data", "x"], "no model to score"),
    ],
)
def test_mistakes_are_one_line(write, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    write("t.txt", TRUE_A)
    write("ends/gt/gt.txt", TRUE_A)
    write("ends/seqinfo.ini", ["[Sequence]", "seqLength=3"])
    write("odd/gt.txt", TRUE_A)
    write("odd/seqinfo.ini", ["seqLength=3"])
    Path("binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    assert main(["evaluate", *arguments]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert words in error


def test_a_missing_library_is_an_error_with_the_command_that_installs_it(
    write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    assert main(["evaluate", "--tracks", write("t.txt", TRUE_A), "--mot", write("r.txt", SWITCHED)]) == 2
    assert "pip install -e '.[evaluate]'" in capsys.readouterr().err


def test_real_tracks_score_as_with_trackeval_alone(shared: Path, write, tmp_path: Path) -> None:
    """A clip's ground truth, made worse: boxes off by some pixels, a tenth lost, ids changed in the middle."""
    gt = shared / "tracks" / "TUD-Campus" / "gt.txt"
    if not gt.is_file():
        pytest.skip("no tracks/TUD-Campus in the shared folder")
    rng = np.random.default_rng(0)
    table = np.loadtxt(gt, delimiter=",")
    worse = table[rng.random(len(table)) >= 0.1]
    worse[:, 1] += 20 * (worse[:, 0] > 35)
    worse[:, 2:6] += rng.normal(0, 4, (len(worse), 4))
    rows = [",".join(f"{value:.2f}" for value in (frame, track, *box, 0.9, 1, -1)) for frame, track, *box in worse[:, :6]]
    of = judged("--tracks", str(gt), "--mot", write("tracks/mine/data/TUD-Campus.txt", rows))["together"]
    assert (of["frames"], of["true_boxes"], of["true_ids"]) == (71, 359, 8)
    theirs = _by_trackeval(gt, tmp_path / "tracks")
    assert of["hota"] == pytest.approx(np.mean(theirs["HOTA"]["HOTA"]), abs=1e-6)
    assert 0.3 < of["hota"] < 0.8
    assert of["idf1"] == pytest.approx(theirs["Identity"]["IDF1"], abs=1e-6)
    assert of["mota"] == pytest.approx(theirs["CLEAR"]["MOTA"], abs=1e-6)
    assert (of["switches"], of["fragments"]) == (theirs["CLEAR"]["IDSW"], theirs["CLEAR"]["Frag"])


def _by_trackeval(gt: Path, trackers: Path) -> dict[str, dict[str, object]]:
    """The same scores by TrackEval alone, from files."""
    from trackeval.datasets import MotChallenge2DBox
    from trackeval.metrics import CLEAR, HOTA, Identity

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clips = MotChallenge2DBox(
            {
                "GT_FOLDER": str(gt.parent.parent),
                "TRACKERS_FOLDER": str(trackers),
                "GT_LOC_FORMAT": "{gt_folder}/{seq}/gt.txt",
                "SEQ_INFO": {"TUD-Campus": 71},
                "BENCHMARK": "MOT15",
                "SKIP_SPLIT_FOL": True,
                "PRINT_CONFIG": False,
            }
        )
        data = clips.get_preprocessed_seq_data(clips.get_raw_seq_data("mine", "TUD-Campus"), "pedestrian")
        quiet = {"PRINT_CONFIG": False}
        return {metric.get_name(): metric.eval_sequence(data) for metric in (HOTA(), CLEAR(dict(quiet)), Identity(dict(quiet)))}


@pytest.mark.parametrize("frame", [5_000_001, 300_000_000, 10**18])
def test_a_frame_number_that_no_clip_has_is_refused_at_once(write, frame: int) -> None:
    """Every frame up to the last is scored: 300 million took minutes."""
    path = Path(write("gt.txt", [line(1, 1), line(frame, 1)]))
    with pytest.raises(DataError, match=r"line 2: a frame above 5000000\. MOTChallenge counts frames from 1"):
        read_tracks(path)
    write("far/seqinfo.ini", ["[Sequence]", f"seqLength={frame}"])
    write("far/gt/gt.txt", [line(1, 1)])
    with pytest.raises(DataError, match="is not a number of frames, 1 to 5000000"):
        read_truth(path.parent / "far")
