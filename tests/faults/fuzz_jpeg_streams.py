"""Damaged MJPEG streams through the splitter and the decoder: `python -m tests.faults.fuzz_jpeg_streams SECONDS SEED`.

Ends with 0 when each round ends with pictures or with the splitter's ValueError, within its bounds of memory and time.
"""

from __future__ import annotations

import resource
import sys
import time

import cv2
import numpy as np

from realtime.sources.common.base import as_bgr
from realtime.sources.common.jpeg import MAX_JPEG_BYTES, JpegSplitter, decoded

from .fuzzing import mutated, noise

FLAGS = ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2], [cv2.IMWRITE_JPEG_QUALITY, 5])
SLOWEST_ROUND_S = 5.0
GROWTH_BYTES = 400 << 20  # one picture of the most pixels that is read, with its copies


def stream(rng: np.random.Generator) -> bytes:
    """A few pictures as a camera sends them, with headers of several habits."""
    parts = []
    for flags in FLAGS:
        jpeg = cv2.imencode(".jpg", noise(64, rng), flags)[1].tobytes()
        length = rng.choice([str(len(jpeg)), "2147483648", "-1", "x"])
        parts.append(f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n".encode() + jpeg + b"\r\n")
    return b"".join(parts)


def read(data: bytes, rng: np.random.Generator) -> int:
    """The number of pictures that are decoded, fed in pieces of any size."""
    splitter, found, at = JpegSplitter(), 0, 0
    try:
        while at < len(data):
            step = int(2 ** rng.uniform(0, 14))
            splitter.feed(data[at : at + step])
            at += step
            while (jpeg := splitter.take()) is not None:
                image = decoded(jpeg)
                found += image is not None
                if image is not None:
                    as_bgr(image)
    except ValueError:  # too large: the connection is given up
        pass
    assert len(splitter.rest) <= MAX_JPEG_BYTES
    return found


def main(seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = stream(rng)
    assert read(whole, rng) == len(FLAGS), "the undamaged stream gives every picture"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    end_s, rounds, found = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end_s:
        start_s = time.process_time()
        found += read(mutated(whole, rng), rng)
        taken_s = time.process_time() - start_s
        assert taken_s < SLOWEST_ROUND_S, f"round {rounds} took {taken_s:.1f} s"
        rounds += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    assert grown < GROWTH_BYTES, f"memory grew by {grown >> 20} MB"
    assert found, "no damaged stream gave a picture: the damage is too strong to test anything"
    print(f"{rounds} streams, {found} pictures, {grown >> 20} MB more memory")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
