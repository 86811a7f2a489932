"""A recording is looked at before a model is chosen for it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.types import Size
from realtime.commands.common.choosing import PEOPLE, ROAD, preset_for
from realtime.commands.common.options import Running, parsed
from realtime.commands.common.running import CameraOrClip, settings_of
from realtime.errors import SourceNotFoundError
from realtime.sources import glimpses, webcam
from realtime.sources.sample import find
from realtime.sources.street.scene import Street


def written(path: Path, shades: list[int]) -> Path:
    """A video of plain pictures."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for shade in shades:
        video.write(np.full((48, 64, 3), shade, np.uint8))
    video.release()
    return path


def test_glimpses_are_spread_over_a_whole_video_or_folder(tmp_path: Path) -> None:
    path = written(tmp_path / "a.avi", list(range(0, 240, 4)))
    seen = [int(image.mean()) for image in glimpses(path, 6)]
    assert len(seen) == 6
    assert seen == sorted(seen)
    assert seen[0] < 60
    assert seen[-1] > 180
    (tmp_path / "set").mkdir()
    for number in range(1, 13):
        cv2.imwrite(str(tmp_path / f"set/{number}.png"), np.full((8, 9, 3), number, np.uint8))
    assert [int(image[0, 0, 0]) for image in glimpses(tmp_path / "set", 3)] == [3, 7, 11]


def test_a_video_of_one_key_frame_is_seen_in_all_its_parts(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "250"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(0, 240, 4):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    seen = [int(image.mean()) for image in glimpses(tmp_path / "a.mp4", 6)]
    assert len(seen) == 6
    assert all(later - earlier > 20 for earlier, later in pairwise(seen))


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF" + bytes(200)])
def test_of_what_cannot_be_read_there_are_none_and_nothing_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert list(glimpses(tmp_path / "a.mp4", 6)) == list(glimpses(tmp_path / "b.mp4", 6)) == []
    assert preset_for(str(tmp_path / "a.mp4")) == preset_for("rtsp://camera/1") == ROAD
    assert capfd.readouterr() == ("", "")


def test_people_near_the_camera_have_their_own_preset(tmp_path: Path) -> None:
    clip = find("carphone", "carphone")
    assert settings_of(parsed(Running), str(clip)).model == "people"
    assert settings_of(parsed(Running)._replace(model="road-small"), str(clip)).model == "road-small"


def test_however_a_recording_is_named(tmp_path: Path) -> None:
    clip = find("carphone", "carphone")
    for number, image in enumerate(glimpses(clip, 3)):
        cv2.imwrite(str(tmp_path / f"{number}.tif"), image)
    (tmp_path / "._0.tif").write_bytes(b"of macOS")
    for source in (clip.as_uri(), f"{clip}?loop=0", str(tmp_path), tmp_path.as_uri().replace("file:", "images:")):
        assert preset_for(source) == PEOPLE, source


def test_a_street_keeps_the_preset_for_roads(tmp_path: Path) -> None:
    street = Street(Size(320, 180), objects=8, seed=2)
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), street.draw(number / 2))
    assert preset_for(str(tmp_path)) == ROAD


def test_the_first_camera_is_decoded_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def first(timeout_s: float, *, decode: str) -> None:
        asked.append(decode)
        raise SourceNotFoundError("no camera was found", "Plug one in")

    monkeypatch.setattr(webcam, "first", first)
    CameraOrClip().open("", "gpu").close()
    assert asked == ["gpu"]


def test_without_a_camera_a_clip_is_opened_and_the_reason_is_known() -> None:
    if any(Path("/dev").glob("video*")):
        pytest.skip("this machine has devices of video")
    shown = CameraOrClip()
    source = shown.open("?loop=1")
    assert source.name.startswith("sample://")
    assert shown.why_clip == "Sample clip: no camera was found. Plug one in."
    source.close()
