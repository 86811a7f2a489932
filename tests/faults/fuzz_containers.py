"""Damaged recordings of many kinds, read to the end: `python -m tests.faults.fuzz_containers SECONDS SEED`.

Ends with 0 when each round ends with frames, whose numbers and times rise, or with a SourceError of one line.
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from realtime.errors import SourceError
from realtime.sources import open_source

from .fuzzing import mutated, noise

KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "mp4": ("libx264", "yuv420p", {"g": "5"}),
    "mkv": ("libx264", "yuv420p", {"g": "5"}),
    "ts": ("libx264", "yuv420p", {"g": "5"}),
    "flv": ("libx264", "yuv420p", {"g": "5"}),
    "mov": ("prores_ks", "yuv422p10le", {}),
    "webm": ("libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "avi": ("mpeg4", "yuv420p", {"g": "5", "bf": "2"}),
    "mpg": ("mpeg2video", "yuv420p", {"g": "5"}),
    "gif": ("gif", "rgb8", {}),
    "mjpeg": ("mjpeg", "yuvj420p", {}),
}
"""Suffix → encoder, pixel format, options."""

FRAMES, SIZE = 12, 64
SLOWEST_ROUND_S = 10.0
GROWTH_BYTES = 1 << 30  # a few pictures of the most pixels that are read


def recording(path: Path, rng: np.random.Generator) -> bytes:
    """A short recording of the kind that its suffix names."""
    codec, pixel_format, options = KINDS[path.suffix[1:]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width = stream.height = SIZE
        stream.pix_fmt = pixel_format
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(noise(SIZE, rng), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def read(path: Path) -> int:
    """How many frames there are. Raises SourceError where there is none."""
    source = open_source(f"file://{path}")
    try:
        index, time_s = -1, -math.inf
        for frame in source:
            assert frame.image.ndim == 3
            assert frame.image.size
            assert frame.index > index
            assert time_s < frame.pts_s < math.inf
            index, time_s = frame.index, frame.pts_s
        return index + 1
    finally:
        source.close()


def main(seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    opened, refused = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        whole = {}
        for kind in KINDS:
            path = Path(folder, f"whole.{kind}")
            whole[kind] = recording(path, rng)
            assert read(path) == FRAMES, f"the undamaged {kind} gives every frame"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        end_s, rounds = time.monotonic() + seconds, 0
        while time.monotonic() < end_s or rounds < len(KINDS):
            kind = list(KINDS)[rounds % len(KINDS)]
            path = Path(folder, f"damaged.{kind}")
            path.write_bytes(mutated(whole[kind], rng))
            start_s, said = time.process_time(), ""
            try:
                read(path)
                opened[kind] += 1
            except SourceError as error:
                said = str(error)
                refused[kind] += 1
            except Exception:
                print(f"round {rounds}, {kind}", file=sys.stderr)
                raise
            assert "\n" not in said, said
            taken_s = time.process_time() - start_s
            assert taken_s < SLOWEST_ROUND_S, f"round {rounds}, {kind}, took {taken_s:.1f} s"
            rounds += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    assert grown < GROWTH_BYTES, f"memory grew by {grown >> 20} MB"
    print(f"{rounds} recordings, read {dict(opened)}, refused {dict(refused)}, {grown >> 20} MB more memory")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
