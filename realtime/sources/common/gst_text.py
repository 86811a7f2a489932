"""The text interface of gst-launch-1.0: its arguments, the negotiated picture format, its errors with their cures."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engines.pictures.pixels import Colours
from engines.pictures.raw import RawPicture
from engines.types import U8
from realtime.codecs.gst_errors import first_error, shortened
from realtime.errors import SourceOpenError
from realtime.process.redact import redact

_FORMATS = {"BGR": "bgr", "BGRx": "bgrx", "NV12": "nv12", "I420": "i420"}
_ALIGNMENT_BYTES = 4  # GStreamer pads each row of a raw picture to this
_COLORIMETRIES = {"bt601": "2:4", "bt709": "2:3", "smpte240m": "2:5", "bt2020": "2:6", "bt2020-10": "2:6"}
_MATRICES = {"2": 4, "3": 1, "4": 6, "5": 7, "6": 9}  # GstVideoColorMatrix → H.273's number
_FULL_RANGE = "1"  # GstVideoColorRange
_HD_WIDTH_PX, _SD_HEIGHT_PX = 1280, 576
_CSI_ELEMENT = "nvarguscamerasrc"
_RESTART = "Restart the camera service: sudo systemctl restart nvargus-daemon"

# Any of our last three elements may print the format they share: a queue creates threads, and GStreamer loses one
# notification in a hundred when two threads set caps at once. (The pacer's comes before the queue's thread has any.)
_CAPS = re.compile(r":frames_(?:pace|queue|out)\.GstPad:\w+: caps = video/x-raw\S*,(.*)")
_FIELD = re.compile(r"([\w-]+)=(?:\(\w+\))?([\w/:-]+)")
_PROPERTY = re.compile(r"[A-Za-z][\w-]*=")

# Known messages of Jetson's camera service and of GStreamer, and their cures.
_CURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r'no element "nv(?:arguscamerasrc|vidconv)"'),
        "CSI cameras need a Jetson and its plugins: sudo apt install nvidia-l4t-gstreamer nvidia-l4t-camera",
    ),
    (
        re.compile(r'no element "[^"]+"'),
        "Install its plugin, as in: sudo apt install gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav",
    ),
    (
        re.compile(r"No cameras available|Invalid camera device"),
        "Check the ribbon cable with the power off, name the camera in sudo /opt/nvidia/jetson-io/jetson-io.py, try csi://1",
    ),
    (re.compile(r"Connecting to nvargus-daemon failed|Failed to create CaptureSession|\(Argus\) Error \w+"), _RESTART),
    (re.compile(r"[Dd]evice '?[^' ]*'? is busy"), "Close the other program that uses it"),
)


@dataclass(frozen=True, slots=True)
class Caps:
    """The format of the raw pictures: width and height in px, frames per second where constant.

    format: "bgr", or one of `RawPicture`; colours: of YUV.
    """

    width: int
    height: int
    format: str
    fps: float | None
    colours: Colours | None = None

    @property
    def rows(self) -> tuple[tuple[int, int], ...]:
        """Of each plane the rows, and the bytes from one to the next, padding included."""
        even, half = (self.height + 1) // 2 * 2, (self.width + 1) // 2
        if self.format == "nv12":
            return (even, _padded(self.width)), (even // 2, _padded(self.width))
        if self.format == "i420":
            return (even, _padded(self.width)), (even // 2, _padded(half)), (even // 2, _padded(half))
        return ((self.height, _padded(self.width * (3 if self.format == "bgr" else 4))),)

    def picture(self, data: U8) -> U8 | RawPicture:
        """The picture in the bytes that `rows` adds up to; views of them."""
        planes, start = [], 0
        for rows, stride_bytes in self.rows:
            planes.append(data[start : start + rows * stride_bytes].reshape(rows, stride_bytes))
            start += rows * stride_bytes
        half = (-(-self.height // 2), -(-self.width // 2))
        if self.format in ("bgr", "bgrx"):
            channels = 3 if self.format == "bgr" else 4
            image = planes[0][:, : self.width * channels].reshape(self.height, self.width, channels)
            return image if self.format == "bgr" else RawPicture("bgrx", (image,))
        luma = planes[0][: self.height, : self.width]
        if self.format == "nv12":
            return RawPicture("nv12", (luma, planes[1][:, : 2 * half[1]].reshape(*half, 2)), self.colours)
        return RawPicture("i420", (luma, *(plane[:, : half[1]] for plane in planes[1:])), self.colours)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline as words, split where its pictures leave it.

    is_paced: each picture waits for its time, as in an appsink by default; a recording then plays at its own speed.
    """

    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    is_paced: bool = False

    def arguments(self, handle: int) -> list[str]:
        """The words for gst-launch-1.0, with the pictures written to the file descriptor `handle`."""
        # The queue keeps one picture and drops it for a newer one: a late reader gets the newest.
        # It never blocks its source, so the element that paces a recording must be before it.
        # YUV of 4:2:0 passes as it is: less than half of the bytes, and what converts it is left to whoever needs BGR.
        tail = (
            "! videoconvert ! video/x-raw,format={BGRx,BGR,NV12,I420} "
            f"! identity name=frames_pace sync={str(self.is_paced).lower()} "
            "! queue name=frames_queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 "
            f"! fdsink name=frames_out fd={handle} sync=false"
        )
        return [*self.before, *tail.split(), *self.after]

    @property
    def is_csi(self) -> bool:
        return _CSI_ELEMENT in self.before


def cut(text: str, name: str) -> Pipeline:
    """Split a pipeline into words as a shell would, and remove its appsink.

    Raises SourceOpenError for a quote that is not closed, or when nothing is before the appsink.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise SourceOpenError(f"{name}: a quote in the pipeline is not closed", "Close it") from None
    if "appsink" not in words:
        pipeline = Pipeline(tuple(words))
    else:
        at = words.index("appsink")
        end = at + 1
        while end < len(words) and _PROPERTY.match(words[end]):
            end += 1
        before = words[: at - 1] if at and words[at - 1] == "!" else words[:at]
        is_paced = not any(word.lower() in ("sync=false", "sync=0", "sync=no") for word in words[at:end])
        pipeline = Pipeline(tuple(before), tuple(words[end:]), is_paced)
    if not pipeline.before:
        raise SourceOpenError(f"{name}: the pipeline has no source", "Write it as SOURCE ! ... ! appsink")
    return pipeline


def read_caps(line: str) -> Caps | None:
    """The pictures' format, if this line of `gst-launch-1.0 -v` has it."""
    match = _CAPS.search(line)
    if match is None:
        return None
    fields = dict(_FIELD.findall(match[1]))
    try:
        over, _, under = fields.get("framerate", "0/1").partition("/")
        fps = int(over) / int(under or 1)
        width, height, format = int(fields["width"]), int(fields["height"]), _FORMATS[fields["format"]]
        colours = _colours_of(fields.get("colorimetry", ""), width, height) if format in ("nv12", "i420") else None
        return Caps(width, height, format, fps or None, colours)
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def _colours_of(colorimetry: str, width: int, height: int) -> Colours:
    """GStreamer's "bt709", or "2:3:5:1": range, matrix, transfer and primaries. What it leaves open is as in video files."""
    of_size = "3" if width >= _HD_WIDTH_PX or height > _SD_HEIGHT_PX else "4"
    range_, _, others = _COLORIMETRIES.get(colorimetry, colorimetry).partition(":")
    matrix = others.partition(":")[0]
    return Colours(_MATRICES.get(matrix, _MATRICES[of_size]), range_ == _FULL_RANGE)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def known_problem(lines: Iterable[str]) -> tuple[str, str] | None:
    """The first known problem in `lines` and its cure."""
    known = ((pattern.search(line), cure) for line in lines for pattern, cure in _CURES)
    return next(((redact(match[0]), cure) for match, cure in known if match), None)


def is_wrong(lines: Iterable[str]) -> bool:
    """Whether GStreamer cannot make a pipeline of this text: trying again does not help."""
    return any("erroneous pipeline" in line for line in lines)


def explain(name: str, lines: Sequence[str], pipeline: Pipeline, fact: str = "") -> tuple[str, str]:
    """The problem, `name` in front, and its cure.

    A known problem, else `fact` (what this program observed), else GStreamer's first error, else the child's last line.
    """
    if known := known_problem(lines):
        what, cure = known
        return f"{name}: {fact}: {what}" if fact else f"{name}: {what}", cure
    text = fact or first_error(lines) or (lines[-1] if lines else "gst-launch-1.0 ended without a message")
    cure = _RESTART if pipeline.is_csi else "Try the pipeline with gst-launch-1.0 -v first"
    return f"{name}: {shortened(text)}", cure
