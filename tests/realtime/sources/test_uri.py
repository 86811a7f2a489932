from __future__ import annotations

from pathlib import Path

import pytest

from realtime import sources
from realtime.errors import SourceNotFoundError, SourceOpenError
from realtime.sources import open_source, parse, schemes
from realtime.sources.common.uri import Options, SourceUri, natural_key


def test_the_folder_is_the_registry() -> None:
    folder = Path(sources.__file__).parent
    assert schemes() == tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))
    assert {"file", "http", "rtsp", "synthetic", "webcam"} <= set(schemes())


@pytest.mark.parametrize(
    ("text", "scheme", "target"),
    [
        ("0", "webcam", "0"),
        ("/dev/video2", "webcam", "/dev/video2"),
        ("/dev/v4l/by-id/usb-cam", "webcam", "/dev/v4l/by-id/usb-cam"),
        ("webcam://1", "webcam", "1"),
        ("webcam:///dev/video1", "webcam", "/dev/video1"),
        ("sample://bikes", "sample", "bikes"),
        ("SYNTHETIC://street", "synthetic", "street"),
        ("file:///a%20b.mp4", "file", "/a b.mp4"),
        ("videotestsrc ! appsink", "gst", "videotestsrc ! appsink"),
        ("gst://v4l2src device=/dev/video0 ! appsink", "gst", "v4l2src device=/dev/video0 ! appsink"),
        ("rtsps://h/1?a=1", "rtsp", "rtsps://h/1?a=1"),
        ("https://h/1", "http", "https://h/1"),
    ],
)
def test_the_scheme_of_a_text(text: str, scheme: str, target: str) -> None:
    uri = parse(text)
    assert (uri.scheme, uri.target) == (scheme, target)


def test_paths_are_files_and_folders(tmp_path: Path) -> None:
    path = tmp_path / "odd?name#1.mp4"
    path.write_bytes(b"x")
    assert parse(str(path)) == SourceUri("file", str(path), {}, str(path))
    assert parse(str(tmp_path)).scheme == "images"
    assert parse(f"{tmp_path}?fps=5").options == {"fps": "5"}


def test_the_options_of_a_network_url_are_in_its_fragment() -> None:
    uri = parse("rtsp://u:p%23w=1@h/1?channel=2#transport=udp&timeout_s=3")
    assert uri.target == "rtsp://u:p%23w=1@h/1?channel=2"
    assert uri.options == {"transport": "udp", "timeout_s": "3"}
    assert "p%23w" not in uri.name


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "street.mp4").write_bytes(b"x")
    with pytest.raises(SourceNotFoundError, match=r"no such file.*Did you mean .street\.mp4."):
        open_source(str(tmp_path / "stret.mp4"))
    with pytest.raises(SourceNotFoundError, match="no such file, and no folder"):
        open_source(str(tmp_path / "nowhere" / "a.mp4"))
    assert issubclass(SourceNotFoundError, FileNotFoundError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the source is empty"),
        ("rtps://h/1", 'no source has the scheme "rtps". Did you mean "rtsp"'),
        ("zzz://h/1", "Known: .*csi://, .*rtsp://"),
        ("sample://bike", "no such sample. Did you mean .bikes."),
        ("synthetic://stret", "Did you mean .street."),
        ("synthetic://street?widht=3", 'no option "widht". Did you mean "width"'),
        ("synthetic://street?width=wide", "width=wide is not valid. Give a number from 64 to 7680"),
        ("synthetic://street?width=100.5", "Give a whole number"),
        ("synthetic://street?fps=nan", "Give a number"),
        ("synthetic://street?live=maybe", "live=maybe is not valid. Give 0 or 1"),
        ("synthetic://street?pan=-1", "pan=-1 is not valid. Give a number from 0 to 4000"),
        ("synthetic://street?shake=1000", "shake=1000 is not valid. Give a number from 0 to 100"),
        ("synthetic://street?occluders=9", "occluders=9 is not valid. Give a number from 0 to 4"),
        ("synthetic://street?crossing=2", 'no option "crossing". Did you mean "crossings"'),
        ("synthetic://street?width", '"width" is not an option. Write options as key=value'),
        ("synthetic://street?seed=1&seed=2", "given twice"),
        ("rtsp://h/1#transport=pigeon", "transport=pigeon is not valid. Give one of tcp, udp"),
        ("rtsp://h/1#speed=2", 'no option "speed"'),
        ("rtsp:///1", "the address has no host"),
        ("http://[::1/x", "not a valid address"),
        ("rtsp://admin:pa#ss@127.0.0.1:8951/x", 'password has a "#".*Percent-encode it: # as %23'),
        ("rtsp://admin:pa/ss@camera/x", 'password has a "/"'),
        ("http://admin:pa?ss@camera/x", 'password has a "[?]"'),
        ("rtsp://admin:12/34@10.0.0.1/x", 'password has a "/"'),
        ("rtsp://admin#1:pw@camera/x", 'user name or password has a "#"'),
        ("rtsp://admin:p@s#s@camera/x#transport=udp", 'password has a "#"'),
    ],
)
def test_a_wrong_source_raises_one_clear_line(text: str, message: str) -> None:
    with pytest.raises((SourceOpenError, SourceNotFoundError), match=message) as caught:
        open_source(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:p@ss@camera/x",
        "rtsp://admin:p%23ss%2F@camera/x",
        "http://camera:8080/@user/live",
        "http://camera/x?mail=a@b.c",
        "http://admin:pw@camera:8080/a@b/c",
        "http://host:1984/api/stream.mjpeg?src=rtsp://u:p@10.0.0.5:554/x",
        "http://[::1]:80/a@b",
    ],
)
def test_an_at_sign_is_not_always_a_password_s_end(text: str) -> None:
    assert parse(text).target == text


def test_no_error_prints_a_password(tmp_path: Path) -> None:
    for text in ("rtsp://admin:hunter2@/x", "foo://admin:hunter2@h/x", "rtsp://admin:hunter2@h/x#speed=1", "admin:hunter2@h/x"):
        with pytest.raises((SourceOpenError, SourceNotFoundError)) as caught:
            open_source(text)
        assert "hunter2" not in str(caught.value)


def test_natural_order() -> None:
    names = ["b1.png", "a10.png", "a2.png", "a02b.png", "A1.png", "10.png", "9.png"]
    assert [path.name for path in sorted(map(Path, names), key=natural_key)] == [
        "9.png", "10.png", "A1.png", "a2.png", "a02b.png", "a10.png", "b1.png",
    ]  # fmt: skip


def test_unread_options_are_rejected() -> None:
    options = Options(SourceUri("file", "x", {"loop": "yes", "seek": "3"}, "x?loop=yes&seek=3"))
    assert options.flag("loop")
    with pytest.raises(SourceOpenError, match=r'no option "seek"\. Known: loop'):
        options.finish()
