"""F08: a camera that sends the same picture again and again: it is said within 3 s, and the tracker learns nothing from it."""

from __future__ import annotations

import http.server
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.models import zoo
from engines.segmenter import Segmenter
from realtime.flow.meter import Meter
from realtime.settings import Settings
from realtime.sources import open_source
from realtime.sources.common.watching import watched
from realtime.streams.composer import Composer
from realtime.types import Frame, SourceStatus

from ..realtime.conftest import scene

FPS = 25


def _pages(http_server: Any, image_at: Callable[[float], np.ndarray]) -> str:
    """A camera whose picture `image_at` gives for the seconds since the first; each JPEG has bytes of its own."""

    def page(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        handler.end_headers()
        begun_s, number = time.monotonic(), 0
        while not http_server.stopping.is_set():
            jpeg = cv2.imencode(".jpg", image_at(time.monotonic() - begun_s))[1].tobytes()
            comment = b"\xff\xfe\x00\x06%04d" % (number % 10_000)
            handler.wfile.write(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg[:2] + comment + jpeg[2:] + b"\r\n")
            number += 1
            http_server.stopping.wait(1 / FPS)

    http_server.pages["/live"] = page
    return str(http_server.url("/live"))


@pytest.mark.slow
def test_it_is_said_in_the_status_and_the_log(
    http_server: Any, wait_until: Callable, reading: Callable, caplog: pytest.LogCaptureFixture, rounds: Callable[[int, int], int]
) -> None:
    caplog.set_level(logging.WARNING, "realtime")
    lasts_s = rounds(4, 5)
    noise = np.random.default_rng(0).integers(0, 256, (16, 72, 96, 3), np.uint8)

    def image_at(t_s: float) -> np.ndarray:
        return scene(7) if 0.5 <= t_s < 0.5 + lasts_s else noise[int(t_s * FPS) % 16]

    source = open_source(_pages(http_server, image_at))
    with reading(source) as frames:
        wait_until(lambda: len(frames) > 2)
        first_s = time.monotonic()
        wait_until(lambda: source.status.state == "frozen", 0.5 + 3.0)
        assert time.monotonic() - first_s > 2.5
        assert source.status.detail.startswith("the same picture for")
        wait_until(lambda: source.status.state == "live", 5)
        assert source.reconnects == 0
    begun, ended = caplog.messages
    assert ": frozen (" in begun
    assert f": no longer frozen, after {lasts_s}." in ended


class Moving:
    """A live source at 30 fps: a car drives, stands still while the camera is frozen, and is then where it has driven to."""

    name, is_live, frame_count, fps = "moving", True, None, 30.0
    frozen = range(40, 76)

    @property
    def status(self) -> SourceStatus:
        return SourceStatus("live")

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frozen.stop + 15):
            image = scene(self.frozen.start - 1 if index in self.frozen else index, width=400)
            yield Frame(image, index, index / 30, index * 10**9 // 30)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("dropped", [(), (39,)], ids=["all frames", "the frozen picture's first frame is dropped"])
def test_the_tracker_learns_no_stillness_from_it(tiny_model: Path, dropped: tuple[int, ...]) -> None:
    settings = Settings(model=str(tiny_model), backend="ort", tracker="auto")
    composer = Composer(settings, Meter(), lambda frame: frame.pts_s, on_screen=False)
    cars, overlaid = {}, {}
    with Segmenter(zoo.find(settings.model), "ort") as segmenter:
        for frame in watched(Moving()):
            if frame.index in dropped:
                continue
            if frame.index in Moving.frozen and (live := composer.result_for(frame)) is not None:
                overlaid[frame.index] = live  # as the overlay "live" shows it, before it is out of the model
            composer.take(frame, segmenter(frame.image), segmenter.card)
            result = composer.result_for(None)
            assert result is not None
            assert result.frame is frame
            for track in result.tracks or ():
                if track.class_id == 1:
                    cars[frame.index] = track
    speeds = {index: float(track.velocity_px_s[0]) for index, track in cars.items()}
    assert speeds[38] == pytest.approx(30, abs=6)
    assert min(speeds[index] for index in Moving.frozen) > 0.8 * speeds[38]
    assert {track.id for track in cars.values()} == {cars[38].id}
    assert all(cars[index].row is not None for index in Moving.frozen)  # the boxes belong to the picture that is shown
    boxes = [result.tracks[-1].box_px for index, result in overlaid.items() if result.tracks and index > 41]
    assert np.ptp(boxes, axis=0).max() == 0
