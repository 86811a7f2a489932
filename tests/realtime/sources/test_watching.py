"""Pictures that arrive and are no use: the same one again and again, black ones, undecodable ones."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import pytest

from engines.pictures.raw import RawPicture
from realtime.sources.common.base import FrameSource, Picture, now_ns
from realtime.sources.common.colour import raw_of
from realtime.sources.common.watching import PictureWatch, watched

NOISE = np.random.default_rng(0).integers(0, 256, (8, 72, 128, 3), np.uint8)


def states(images: list[np.ndarray | None], fps: float = 25.0) -> list[str]:
    """The state after each picture."""
    watch, found = PictureWatch("camera"), []
    for number, image in enumerate(images):
        watch.see(image, number / fps)
        trouble = watch.report(number / fps)
        found.append(trouble.state if trouble else "live")
    return found


def test_the_same_picture_is_frozen_before_three_seconds_and_a_new_one_is_live(caplog: pytest.LogCaptureFixture) -> None:
    frozen = [NOISE[0].copy() for _ in range(100)]  # decoded anew each time, as of bytes that may differ
    found = states([NOISE[1], *frozen, NOISE[2]])
    assert found.index("frozen") <= 1 + 25 * 3
    assert found[-2:] == ["frozen", "live"]
    assert [text.partition(" (")[0] for text in caplog.messages] == ["camera: frozen", "camera: no longer frozen, after 4.0 s"]


def raw(image: np.ndarray, matrix: int = 1) -> RawPicture:
    """An image as a decoder has it: limited, with the matrix of HD."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "bgr24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=1)
    frame.colorspace, frame.color_range = matrix, 1
    found = raw_of(frame)
    assert found is not None
    return found


BLACKS = [
    (np.zeros((72, 128, 3), np.uint8), "black"),
    (np.full((72, 128, 3), 16, np.uint8), "black"),
    (np.full((72, 128, 3), 70, np.uint8), "frozen"),
    (np.full((72, 128, 3), (160, 20, 20), np.uint8), "frozen"),
    (np.full((72, 128, 3), (150, 0, 0), np.uint8), "frozen"),
]


@pytest.mark.parametrize(("image", "state"), BLACKS, ids=["zero", "limited range", "dark", "a no-signal card", "a darker one"])
def test_a_raw_picture_is_judged_as_its_bgr_and_not_converted(image: np.ndarray, state: str) -> None:
    """A blue whose luma is hardly above that of black is not black."""
    pictures = [raw(image) for _ in range(100)]
    assert states([*pictures])[-1] == states([image.copy() for _ in range(100)])[-1] == state
    assert all(picture.nbytes == sum(plane.nbytes for plane in picture.planes) for picture in pictures)
    assert set(states([raw(NOISE[number % 8]) for number in range(100)])) == {"live"}
    assert states([raw(NOISE[0]), *pictures, NOISE[1]])[-1] == "live", "of another format it is another picture"


def test_a_slow_or_a_slowly_changing_camera_is_not_frozen() -> None:
    assert set(states([NOISE[number // 50 % 8] for number in range(400)])) == {"live"}  # a new picture every 2 s
    assert set(states([NOISE[0], NOISE[0], NOISE[0], NOISE[1]], fps=1)) == {"live"}


@pytest.mark.parametrize("shape", [(720, 1280, 3), (333, 517, 3), (48, 3, 3), (1, 1, 3)])
def test_a_small_thing_that_moves_is_seen(shape: tuple[int, ...]) -> None:
    watch = PictureWatch("camera")
    for number in range(20):
        image = np.full(shape, 200, np.uint8)
        at = number % shape[1]
        image[shape[0] // 3 : shape[0] // 3 + 6, at : at + 1] = 10 + number
        watch.see(image, number / 25)
    assert watch.content == 20


@pytest.mark.parametrize(
    ("image", "state"),
    [
        (np.zeros((72, 128, 3), np.uint8), "black"),
        (np.full((72, 128, 3), 16, np.uint8), "black"),
        (NOISE[0] // 32, "black"),
        (NOISE[0] // 4, "frozen"),
        (np.full((72, 128, 3), (160, 20, 20), np.uint8), "frozen"),
    ],
    ids=["zero", "limited range", "noise of a covered sensor", "dark", "a blue no-signal card"],
)
def test_black_is_told_from_dark(image: np.ndarray, state: str) -> None:
    assert states([image.copy() for _ in range(80)])[-1] == state


def test_a_lamp_in_the_night_is_not_black() -> None:
    def night(number: int) -> np.ndarray:
        image = NOISE[number % 8] // 40
        image[30:34, 40:46] = 255
        return image

    assert set(states([night(number) for number in range(100)])) == {"live"}


def test_a_flood_that_does_not_decode_is_said(caplog: pytest.LogCaptureFixture) -> None:
    flood = [NOISE[number % 8] if number % 10 == 3 else None for number in range(150)]  # now and then noise decodes
    found = states([*NOISE, *flood, *NOISE, *NOISE, *NOISE])
    assert found.index("undecodable") <= 8 + 25 * 3
    assert found[8 + 25 * 3 : 8 + 150] == ["undecodable"] * 75
    assert found[-1] == "live"
    assert set(states([NOISE[number % 8] if number % 3 else None for number in range(300)])) == {"live"}  # a third is damage
    assert len(caplog.messages) == 2


def test_a_source_of_another_making_is_watched_too() -> None:
    class Stuck(FrameSource):
        is_live = True

        def _pictures(self) -> Iterator[Picture]:
            for number in range(3):
                yield Picture(NOISE[number // 2].copy(), None, now_ns())

    source = watched(Stuck("stuck"))
    contents = [frame.content for frame in source]
    assert contents == [1, 1, 2]
    assert source.status.state == "ended"
    recording = Stuck("film")
    recording.is_live = False
    assert watched(recording) is recording
