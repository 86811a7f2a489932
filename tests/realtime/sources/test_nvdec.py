"""NVIDIA's decoder on a PC: FFmpeg's own code for it, over stand-ins of the driver's libraries (tests/fakes/nvdec.cpp).

One child process for all: a process that has loaded a libcuda would pass for one with a GPU.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from realtime.errors import SourceOpenError
from realtime.sources import open_source

SOURCE = Path(__file__).parents[2] / "fakes" / "nvdec.cpp"
COUNT = 36

# How each run of the child is asked: decode, the picture that fails, whether the driver refuses, levels that it adds, GPUs.
RUNS = {
    "all is well": ("auto", -1, 0, 0, 1),
    "the first picture fails": ("auto", 0, 0, 0, 1),
    "a picture in the first GOP fails": ("auto", 5, 0, 0, 1),
    "a picture beside a key frame fails": ("auto", 14, 0, 0, 1),
    "the last picture fails": ("auto", COUNT - 1, 0, 0, 1),
    "the driver refuses": ("auto", -1, 1, 0, 1),
    "wrong pictures": ("auto", -1, 0, 40, 1),
    "no GPU": ("auto", -1, 0, 0, 0),
    "gpu": ("gpu", -1, 0, 0, 1),
    "gpu, the driver refuses": ("gpu", -1, 1, 0, 1),
    "gpu, no GPU": ("gpu", -1, 0, 0, 0),
    "cpu": ("cpu", -1, 0, 0, 1),
}


def _as_the_gpu_decodes(path: Path, to: Path) -> None:
    """Its pictures as NV12, in decoding order."""
    with av.open(str(path)) as container:
        order = [packet.pts for packet in container.demux(video=0) if packet.size]
    with av.open(str(path)) as container:
        found = {frame.pts: frame.to_ndarray(format="nv12") for frame in container.decode(video=0)}
    to.write_bytes(b"".join(found[pts].tobytes() for pts in order))


def _child(folder: Path) -> None:
    """Every run, as JSON on the standard output."""
    cuda, cuvid = (ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL) for name in ("libcuda.so.1", "libnvcuvid.so.1"))
    results = {}
    wanted = list(open_source(str(folder / "clip.mp4"), decode="cpu"))
    for name, (decode, *script, devices) in RUNS.items():
        cuda.fake_devices(devices)
        cuvid.fake_script(str(folder / "clip.nv12").encode(), *script)
        result: dict[str, Any] = {"error": ""}
        try:
            source = open_source(str(folder / "clip.mp4"), decode=decode)  # type: ignore[arg-type]
            result["first"] = source.status.decoder, source.status.detail
            frames = list(source)
            result["last"] = source.status.decoder, source.status.detail
            result["numbers"] = [frame.index for frame in frames] == list(range(COUNT))
            result["times"] = [frame.pts_s for frame in frames] == [frame.pts_s for frame in wanted]
            result["equal"] = all(np.array_equal(a.image, b.image) for a, b in zip(frames, wanted, strict=True))
            source.close()
        except SourceOpenError as error:
            result["error"] = str(error)
        alive, decoders = (ctypes.c_int * 4)(), (ctypes.c_int * 3)()
        cuda.fake_alive(alive)
        cuvid.fake_decoders(decoders)
        result["left"], result["decoded"] = [*alive, *decoders[:2]], decoders[2]
        results[name] = result
    print(json.dumps(results))


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, repo_root: Path, hard_clip: Callable[[Path], None]
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("nvdec")
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs g++ on Linux")
    for name, define in (("libcuda.so.1", ["-DCUDA"]), ("libnvcuvid.so.1", [])):
        line = [compiler, "-O1", "-shared", "-fPIC", *define, f"-Wl,-soname,{name}", "-o", str(folder / name), str(SOURCE)]
        subprocess.run(line, check=True, timeout=100)
    hard_clip(folder / "clip.mp4")
    _as_the_gpu_decodes(folder / "clip.mp4", folder / "clip.nv12")
    program = f"import sys; sys.path[:0] = [{str(repo_root)!r}, {str(Path(__file__).parent)!r}]\n"
    program += f"from pathlib import Path; import test_nvdec; test_nvdec._child(Path({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("gpu, the driver refuses", "gpu, no GPU")])
def test_whatever_decodes_no_picture_is_lost_and_all_are_the_cpus(runs: dict[str, dict[str, Any]], name: str) -> None:
    run = runs[name]
    assert (run["error"], run["numbers"], run["times"], run["equal"]) == ("", True, True, True)


def test_nothing_is_left_on_the_gpu(runs: dict[str, dict[str, Any]]) -> None:
    """Contexts, memory, calls without a context, contexts on the stack, decoders, mapped pictures."""
    assert {tuple(run["left"]) for run in runs.values()} == {(0,) * 6}


def test_what_decodes_is_said(runs: dict[str, dict[str, Any]]) -> None:
    for name in ("all is well", "gpu"):
        assert runs[name]["first"][0] == runs[name]["last"][0] == "NVDEC"
        assert runs[name]["first"][1] == "640x368 h264 25 fps, decoded by NVDEC"
        assert runs[name]["decoded"] == COUNT
    assert runs["cpu"]["last"][0] == "CPU"
    assert runs["cpu"]["decoded"] == 0
    for name in ("the first picture fails", "the driver refuses", "wrong pictures", "no GPU"):
        assert runs[name]["first"][0] == "CPU"
    assert [runs["a picture beside a key frame fails"][when][0] for when in ("first", "last")] == ["NVDEC", "CPU"]


def test_a_gpu_that_must_decode_and_cannot_is_an_error(runs: dict[str, dict[str, Any]]) -> None:
    for name, reason in (
        ("gpu, the driver refuses", "does not take this kind of stream: h264"),
        ("gpu, no GPU", "cannot be used"),
    ):
        assert reason in runs[name]["error"]
        assert runs[name]["error"].endswith("Use --decode auto")


def test_without_a_driver_the_reason_is_said_and_gpu_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, hard_clip: Callable[[Path], None]
) -> None:
    from realtime.codecs import presence

    presence.driver_lacks.cache_clear()
    if not presence.driver_lacks("libnvcuvid.so.1"):
        pytest.skip("this machine has the driver")
    monkeypatch.setenv("PATH", str(tmp_path))  # nor a Jetson's GStreamer
    hard_clip(tmp_path / "clip.mp4")
    with caplog.at_level("INFO"):
        assert open_source(str(tmp_path / "clip.mp4")).status.decoder == "CPU"
    assert "decoded by the CPU (no NVIDIA driver (libcuda.so.1) on this machine" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"], "most machines have none"
    with pytest.raises(SourceOpenError, match=r"cannot be decoded on a GPU \(no NVIDIA driver.* Use --decode auto"):
        open_source(str(tmp_path / "clip.mp4"), decode="gpu")
    with pytest.raises(SourceOpenError, match="has no video that this program decodes"):
        open_source("synthetic://street", decode="gpu")
