"""The contract of every tracker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realtime import tracking
from realtime.errors import SettingsError
from realtime.tracking import names, open_tracker, own_settings

from .scenes import NO_IMAGE, Street, segmentation

every_tracker = pytest.mark.parametrize("name", names())


def test_the_folder_is_the_registry():
    folder = Path(tracking.__file__).parent
    assert names() == tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))
    assert {"auto", "none"} <= set(names())


def test_naming_the_trackers_imports_no_solver():
    code = "import sys, realtime.tracking as t; t.names(); t.open_tracker('none'); print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_wrong_name_gets_the_list_and_the_nearest():
    with pytest.raises(SettingsError, match=r'no tracker is called "bytetrak"\. Did you mean "bytetrack"\?'):
        open_tracker("bytetrak")
    with pytest.raises(SettingsError, match=", ".join(names())):
        open_tracker("common")


@every_tracker
def test_a_wrong_setting_is_named(name):
    with pytest.raises(SettingsError, match=r'setting of tracker .* is called "nonsense"'):
        open_tracker(name, nonsense=1)


def test_settings_of_other_trackers_are_left_out_and_misspelt_ones_are_errors():
    table = {"lost_s": 2.0, "blob_s": 3.0, "noise": {"measured": 0.1}}
    assert own_settings("bytetrack", table) == {"lost_s": 2.0, "noise": {"measured": 0.1}}
    assert own_settings("none", table) == {}
    for name in names():
        with pytest.raises(SettingsError, match=r'no setting of a tracker is called "lots_s"\. Did you mean "lost_s"\?'):
            own_settings(name, {**table, "lots_s": 2.0})
    with pytest.raises(SettingsError, match=r'no setting of noise is called "measurd"\. Did you mean "measured"\?'):
        own_settings("none", {"noise": {"measurd": 0.1}})


@every_tracker
@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_tracks_are_sound(name, dropped):
    tracker = open_tracker(name)
    for view in Street(1, seconds=3).frames(dropped):
        tracks = tracker.update(view.seen, view.t_s, NO_IMAGE)
        ids, rows = [track.id for track in tracks], [track.row for track in tracks if track.row is not None]
        assert len(set(ids)) == len(ids)
        assert len(set(rows)) == len(rows)
        assert all(track_id > 0 for track_id in ids)
        assert all(0 <= row < len(view.seen.instances) for row in rows)
        for track in tracks:
            assert track.box_px.shape == (4,)
            assert 1 <= len(track.trail_px) <= 64
            assert track.trail_px.shape[1] == 2
            assert 0 <= track.score <= 1
            assert track.velocity_px_s.shape == (4,)
            assert track.velocity_px_s.dtype == np.float32


@every_tracker
def test_pictures_without_objects(name):
    tracker, image = open_tracker(name), np.zeros((90, 160, 3), np.uint8)
    boxes = [[], [], [(10, 10, 40, 60)], [], [(12, 10, 42, 60), (90, 20, 120, 70)], [], []]
    for index, seen in enumerate(boxes):
        tracks = tracker.update(segmentation(seen), index / 30, image)
        assert all(track.row is None or track.row < len(seen) for track in tracks)


@every_tracker
def test_the_same_input_gives_the_same_tracks(name):
    views = list(Street(2, seconds=2).frames(0.2))
    one, other = open_tracker(name), open_tracker(name)
    for view in views:
        a, b = one.update(view.seen, view.t_s, NO_IMAGE), other.update(view.seen, view.t_s, NO_IMAGE)
        assert [(t.id, t.row, t.box_px.tolist()) for t in a] == [(t.id, t.row, t.box_px.tolist()) for t in b]
