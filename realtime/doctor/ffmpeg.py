"""FFmpeg: what PyAV decodes and encodes."""

import io
from collections.abc import Iterator
from typing import Any

from realtime.bench import gpus
from realtime.codecs.presence import driver_lacks
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import cure_of_import

RANK = 40
LIMIT_S = 15.0

DECODERS = {"h264": "cameras and most files", "hevc": "newer cameras", "mjpeg": "webcams", "vp9": "WebM", "av1": "newer files"}
"""Codec -> where it is met."""

OF_AV1 = ("av1", "libdav1d", "libaom-av1")

ON_GPU = ("h264_nvenc", "hevc_nvenc")


def check(machine: Machine) -> Iterator[Finding]:
    machine.step("importing av")
    try:
        import av
        import av.codec.hwaccel
    except Exception as error:  # an extension may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        is_there = not isinstance(error, ModuleNotFoundError)
        cure = cure_of_import(machine, error, "av") if is_there else machine.pip("install", "'av>=17,<19'")
        yield problem("pyav", f"cannot be loaded, and without it no recording is read or written ({text})", cure)
        return
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    lacks = [name for name in DECODERS if not any(_has(av, one, "r") for one in (OF_AV1 if name == "av1" else (name,)))]
    again = machine.pip("install", "--force-reinstall 'av>=17,<19'")
    if lacks:
        yield warning("decoders", f"FFmpeg has none for {', '.join(f'{name} ({DECODERS[name]})' for name in lacks)}", again)
    else:
        yield ok("decoders", f"PyAV {av.__version__} (libavcodec {version}): {', '.join(DECODERS)}")
    yield from _encoders(machine, av, again)
    yield from _hardware(machine, av)


def _has(av: Any, codec: str, mode: str) -> bool:
    try:
        av.Codec(codec, mode)
    except Exception:  # not known to this FFmpeg
        return False
    return True


def _encoders(machine: Machine, av: Any, again: str) -> Iterator[Finding]:
    """The one that recordings are made with on the CPU, tried on two pictures."""
    from realtime.sinks.common.encoders import ENCODERS

    name = next((encoder for encoder in ENCODERS if _has(av, encoder, "w")), "")
    if not name:
        yield problem("encoder", "FFmpeg has none for recordings", again)
        return
    machine.step(f"encoding two pictures with {name}")
    try:
        count = _tried(av, name)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield problem("encoder", f"{name} fails: no recording can be made ({text})", again)
        return
    if count != 2:
        yield problem("encoder", f"of two pictures that {name} encoded, {count} came back", again)
    elif name == "mpeg4":
        yield warning("encoder", "only MPEG-4 Part 2: recordings are larger, and browsers do not play them", again)
    else:
        yield ok("encoder", f"{name}, tried: recordings can be made")


def _tried(av: Any, encoder: str) -> int:
    """How many of two pictures are decoded again."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as film:
        stream = film.add_stream(encoder, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(2):
            film.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        film.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as film:
        return sum(1 for _ in film.decode(video=0))


def _hardware(machine: Machine, av: Any) -> Iterator[Finding]:
    """NVIDIA's decoder and encoder: in this FFmpeg, and in the driver."""
    built = {
        "libnvcuvid.so.1": "NVDEC" if "cuda" in av.codec.hwaccel.hwdevices_available() else "",
        "libnvidia-encode.so.1": "NVENC" if any(_has(av, name, "w") for name in ON_GPU) else "",
    }
    names = " and ".join(name for name in built.values() if name)
    if not names:
        yield absent("gpu codecs", "this FFmpeg is built without NVIDIA's decoder and encoder (NVDEC, NVENC)")
    elif machine.is_jetson:
        yield absent("gpu codecs", f"FFmpeg's {names} are for PCs; a Jetson decodes and encodes through GStreamer")
    elif not gpus.seen(machine.root):
        yield absent("gpu codecs", f"no NVIDIA GPU here for FFmpeg's {names}")
    elif lacks := [reason for library, name in built.items() if name and (reason := driver_lacks(library))]:
        cure = "sudo apt-get install -y libnvidia-decode-580 libnvidia-encode-580  # with the number that nvidia-smi shows"
        if machine.is_container:
            cure = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,video,utility IMAGE"
        yield warning("gpu codecs", f"video is decoded and encoded on the CPU: {'; '.join(dict.fromkeys(lacks))}", cure)
    else:
        yield ok("gpu codecs", f"{names}, in this FFmpeg and in the driver")
