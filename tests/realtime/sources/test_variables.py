"""Passwords from the environment or a private file, instead of the command line that every user can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.errors import SourceError, SourceOpenError
from realtime.process.redact import redact
from realtime.sources import parse

PASSWORD = "p@ss/wo#rd?7 ü"


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_PASSWORD", PASSWORD)
    monkeypatch.setenv("CAM_URL", "rtsp://admin:hunter277@camera:554/live?channel=1")


@pytest.mark.usefixtures("variable")
def test_an_address_takes_its_password_from_the_environment() -> None:
    uri = parse("rtsp://admin:${CAM_PASSWORD}@camera/1?channel=2#transport=udp")
    assert uri.target == "rtsp://admin:p%40ss%2Fwo%23rd%3F7%20%C3%BC@camera/1?channel=2"
    assert (uri.options, uri.name) == ({"transport": "udp"}, "rtsp://***@camera/1?channel=2#transport=udp")
    assert redact(f"the server says: {PASSWORD} is wrong") == "the server says: *** is wrong"


@pytest.mark.usefixtures("variable")
def test_a_whole_address_is_taken_as_it_is() -> None:
    uri = parse("${CAM_URL}#transport=udp")
    assert uri.target == "rtsp://admin:hunter277@camera:554/live?channel=1"
    assert uri.name == "rtsp://***@camera:554/live?channel=1#transport=udp"


@pytest.mark.usefixtures("variable")
def test_a_pipeline_takes_it_as_one_word() -> None:
    uri = parse("rtspsrc location=rtsp://a:${CAM_PASSWORD}@camera/1 user-pw=${CAM_PASSWORD} ! decodebin ! appsink")
    assert uri.target.startswith("rtspsrc location=rtsp://a:p%40ss%2Fwo%23rd%3F7%20%C3%BC@camera/1 user-pw='p@ss/wo#rd?7 ü' ! ")
    assert uri.name == "rtspsrc location=rtsp://***@camera/1 user-pw=*** ! decodebin ! appsink"


def test_a_private_file_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "camera secret"
    secret.write_text("hunter288\nanother line\n", encoding="utf-8-sig")
    secret.chmod(0o600)
    monkeypatch.setenv("CAM_PASSWORD_FILE", str(secret))
    assert parse("http://u:${CAM_PASSWORD}@camera/1").target == "http://u:hunter288@camera/1"


@pytest.mark.parametrize(
    ("mode", "text", "words"),
    [
        (0o640, "x", "other users may read .*chmod 600"),
        (0o604, "x", "other users may read"),
        (0o600, "", "first line of .* is empty"),
    ],
)
def test_a_file_that_is_not_private_or_empty_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, text: str, words: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(text)
    secret.chmod(mode)
    monkeypatch.setenv("CAM_FILE", str(secret))
    with pytest.raises(SourceOpenError, match=words):
        parse("http://u:${CAM}@camera/1")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAM_PASSWORD", raising=False)
    with pytest.raises(SourceOpenError, match=r"no environment variable CAM_PASSWORD\. Set it, or CAM_PASSWORD_FILE"):
        parse("rtsp://admin:${CAM_PASSWORD}@camera/1")
    monkeypatch.setenv("CAM_PASSWORD_FILE", str(tmp_path / "absent"))
    with pytest.raises(SourceOpenError, match=r"CAM_PASSWORD_FILE: .*absent cannot be read \(No such file"):
        parse("rtsp://admin:${CAM_PASSWORD}@camera/1")
    monkeypatch.setenv("CAM_PASSWORD_FILE", str(tmp_path))
    with pytest.raises(SourceOpenError, match="is not a file"):
        parse("rtsp://admin:${CAM_PASSWORD}@camera/1")


def test_a_file_name_with_such_characters_is_a_file_name(tmp_path: Path) -> None:
    (tmp_path / "a${X}.mp4").touch()
    assert parse(str(tmp_path / "a${X}.mp4")).target == str(tmp_path / "a${X}.mp4")
    with pytest.raises(SourceError):
        parse(str(tmp_path / "${X}.mp4"))
