"""Webcams through OpenCV: requests MJPG, reports the negotiated format, finds the same camera after it was unplugged."""

import functools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from realtime.errors import SourceError, SourceNotFoundError, SourceOpenError
from realtime.sources.common.attempt import Attempt
from realtime.sources.common.device_users import programs_using
from realtime.sources.common.feed import OPEN_TIMEOUT_S, HopelessError
from realtime.sources.common.jpeg_decoding import JpegDecoder, jpeg_hardware_lacks
from realtime.sources.common.live import LiveSource
from realtime.sources.common.opencv import Capture, CaptureFeed, gives_picture, prepare_opencv
from realtime.sources.common.uri import Decode, Options, SourceUri, natural_key

DECODES = SHOWS_PEOPLE = True

_APIS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}
_UNLISTED_CAMERAS = 2  # tried where the system has no list of cameras

_ROOT = Path("/")

OpenCapture = Callable[[int, int], Capture]


@dataclass(frozen=True, slots=True)
class Camera:
    """A video device.

    path:      /dev/videoN.
    stable_id: stays when the number changes: its link below /dev/v4l/by-id, else its product name; "" if unknown.
    """

    path: Path
    stable_id: str


@dataclass(frozen=True, slots=True)
class Format:
    """The format to request; the camera delivers the nearest that it can."""

    width: int = 1280
    height: int = 720
    fps: float = 30.0


def open_uri(uri: SourceUri) -> LiveSource:
    """webcam://0 or webcam:///dev/video0, or the number or device alone.

    Options: width=1280, height=720, fps=30, open_timeout_s=5.
    """
    options = Options(uri)
    request = Format(
        width=options.integer("width", 1280, 16, 16384),
        height=options.integer("height", 720, 16, 16384),
        fps=options.number("fps", 30.0, 1, 1000),
    )
    open_limit_s = options.number("open_timeout_s", OPEN_TIMEOUT_S, 0.2, 60)
    options.finish()
    look = functools.partial(find, uri.target, uri.name)
    camera = look if uri.waits else look()
    return webcam(camera, uri.name, request, waits=uri.waits, open_limit_s=open_limit_s, decode=uri.decode)


def webcam(
    camera: Camera | Callable[[], Camera],
    name: str,
    request: Format,
    open_capture: OpenCapture = cv2.VideoCapture,
    root: Path = _ROOT,
    *,
    waits: bool = False,
    open_limit_s: float = OPEN_TIMEOUT_S,
    decode: Decode = "auto",
) -> LiveSource:
    """A source that opens `camera` when iterated, or looks for it first. Tests give their own `open_capture` and `root`."""
    known = camera if isinstance(camera, Camera) else None
    _ask_hardware(decode)

    def connect() -> CaptureFeed:
        nonlocal known
        if known is None:
            assert callable(camera), "what is not known is looked for"
            known = camera()
        current = find_again(known, root) if sys.platform == "linux" else known
        if current is None:
            raise SourceOpenError(f"{name}: the camera is not plugged in")
        return _connect(current, name, request, open_capture, decode)

    return LiveSource(name, connect, waits=waits, open_limit_s=open_limit_s)


def find(target: str, name: str) -> Camera:
    """The camera with that number or device path. Raises SourceNotFoundError, with the list of present cameras."""
    text = target.strip() or "0"
    if sys.platform != "linux":
        if not text.isdigit():
            raise SourceNotFoundError(f'{name}: "{text}" is not a webcam', "Give its number, as in webcam://0")
        return Camera(Path(text), "")
    path = Path(f"/dev/video{text}") if text.isdigit() else Path(text)
    present = cameras()
    for camera in present:
        if camera.path == path or (path.exists() and camera.path == path.resolve()):
            return camera
    if path.exists():
        return Camera(path, "")
    known = ", ".join(str(camera.path) for camera in present)
    raise SourceNotFoundError(f"{name}: no camera {path}", f"Present: {known}" if known else "Plug a camera in")


def first(
    timeout_s: float, open_capture: OpenCapture = cv2.VideoCapture, root: Path = _ROOT, *, decode: Decode = "auto"
) -> LiveSource:
    """The first camera that gives a picture within `timeout_s` in total, already open.

    Raises SourceNotFoundError where there is no camera, or SourceOpenError: why the first one gives no picture.
    """
    listed = cameras(root) if sys.platform == "linux" else [Camera(Path(str(number)), "") for number in range(_UNLISTED_CAMERAS)]
    if listed:
        _ask_hardware(decode)
    deadline_s, reasons = time.monotonic() + timeout_s, list[SourceError]()
    for camera in listed:
        name = str(camera.path) if sys.platform == "linux" else f"webcam://{camera.path}"
        attempt = Attempt(lambda camera=camera, name=name: _connect(camera, name, Format(), open_capture, decode))  # type: ignore[misc]
        try:
            feed = attempt.result(max(0.0, deadline_s - time.monotonic()))
        except SourceError as error:
            reasons.append(error)
            continue
        if feed is not None:
            return webcam(camera, name, Format(), open_capture, root, decode=decode).adopt(feed)
        reasons.append(SourceOpenError(f"{name}: the camera does not answer", "Unplug it and plug it in again"))
    if not reasons or sys.platform != "linux":  # elsewhere there is no list, and a number without a camera gives no picture
        raise SourceNotFoundError("no camera was found", "Plug one in")
    raise reasons[0]


def _connect(camera: Camera, name: str, request: Format, open_capture: OpenCapture, decode: Decode) -> CaptureFeed:
    """Open, negotiate, and read one picture. Raises SourceOpenError: in use, not allowed, or not a camera."""
    if sys.platform == "linux" and camera.path.exists() and not os.access(camera.path, os.R_OK | os.W_OK):
        raise HopelessError(*_forbidden(camera.path, name))
    prepare_opencv()
    number = int("".join(filter(str.isdigit, camera.path.name)))
    capture = open_capture(number, _APIS.get(sys.platform, cv2.CAP_ANY))
    # MJPG before the size: uncompressed 720p exceeds USB 2 and would arrive at 10 fps or less.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.height)
    capture.set(cv2.CAP_PROP_FPS, request.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if not capture.isOpened() or not gives_picture(capture):
        capture.release()
        users = programs_using(camera.path) if sys.platform == "linux" else []
        reason = f", since {' and '.join(users)} {'is' if len(users) == 1 else 'are'} using it" if users else ""
        cure = f"Close {' and '.join(users) or 'other programs that use it'}, or try another number"
        raise SourceOpenError(f"{name}: the camera delivers no picture{reason}", cure)
    letters = (int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")
    codec = letters if letters.isprintable() and letters.strip() else ""
    try:
        jpegs = _jpegs(capture, name, codec, decode)
    except HopelessError:
        capture.release()
        raise
    return CaptureFeed(capture, name, codec, "Unplug the camera and plug it in again", jpegs)


def _ask_hardware(decode: Decode) -> None:
    """Before a time limit begins: the first answer may take seconds on a Jetson."""
    if decode != "cpu":
        jpeg_hardware_lacks()


def _jpegs(capture: Capture, name: str, codec: str, decode: Decode) -> JpegDecoder | None:
    """What decodes a camera's JPEG files instead of OpenCV, which then leaves them as they are."""
    if codec not in ("MJPG", "JPEG"):
        if decode == "gpu":
            raise HopelessError(f"{name}: its pictures ({codec or 'of unknown format'}) are not coded", "Use --decode auto")
        return None
    if decode == "cpu" or (decode == "auto" and jpeg_hardware_lacks()):
        return None
    jpegs = JpegDecoder(name, decode)
    return jpegs if capture.set(cv2.CAP_PROP_CONVERT_RGB, 0) else None


def _forbidden(path: Path, name: str) -> tuple[str, str]:
    """The problem and the cure for a device that this user may not open."""
    try:
        group = path.group()
    except (KeyError, OSError):  # a group without a name
        group = "root"
    cure = f"Allow it: sudo chmod a+rw {path}"
    if group != "root":
        cure = f"Add yourself to its group, and log in again: sudo usermod -aG {group} $USER"
    return f"{name}: no permission to use {'it' if name == str(path) else path}", cure


def cameras(root: Path = _ROOT) -> list[Camera]:
    """The capture devices, by number, without metadata devices."""
    links = {link.resolve(): link.name for link in sorted((root / "dev/v4l/by-id").glob("*"))}
    found = []
    for path in sorted((root / "dev").glob("video[0-9]*"), key=natural_key):
        facts = root / "sys/class/video4linux" / path.name
        if _read(facts / "index") not in ("", "0"):
            continue
        found.append(Camera(path, links.get(path.resolve()) or _read(facts / "name")))
    return found


def find_again(camera: Camera, root: Path = _ROOT) -> Camera | None:
    """The same camera under its current number; None while it is unplugged. A number with another name is another camera."""
    now = cameras(root)
    if not camera.stable_id:
        return next((other for other in now if other.path == camera.path), None)
    same = [other for other in now if other.stable_id == camera.stable_id]
    return next((other for other in same if other.path == camera.path), same[0] if same else None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
