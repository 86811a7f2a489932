"""F29: downloads from a real https server that also behaves as attackers would."""

from __future__ import annotations

import gzip
import hashlib
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from engines.errors import DownloadError
from engines.models.collection import download as downloading
from engines.models.collection.download import download
from engines.models.collection.manifest import Entry

from ..https_server import Handler, HttpsServer

DATA = bytes(range(256)) * 1024
"""A file of four chunks."""


def entry_for(url: str, data: bytes = DATA) -> Entry:
    return Entry(url=url, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), licence="MIT")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def files_in(root: Path) -> list[str]:
    """All but the lock, which is empty."""
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def get(server: HttpsServer, folder: Path, context: ssl.SSLContext, *more_hosts: str) -> Path:
    return download(entry_for(server.url()), (server.host, *more_hosts), folder, context=context)


def test_a_file_arrives_whole(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    server.answer = lambda handler: handler.give_file(DATA)
    seen: list[int] = []
    path = download(entry_for(server.url()), (server.host,), folder, context=trusting, on_progress=seen.append)
    assert path.read_bytes() == DATA
    assert path.parent == folder
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)
    assert len(seen) >= 4
    assert server.asked == [("/model.onnx", None)]


def test_the_server_does_not_choose_the_file_s_name(server: HttpsServer, tmp_path: Path, trusting: ssl.SSLContext) -> None:
    server.answer = lambda handler: handler.give(200, DATA, Content_Disposition='attachment; filename="../../../evil.onnx"')
    path = get(server, tmp_path / "a" / "b", trusting)
    assert files_in(tmp_path) == [path.name]
    assert path.name == f"{hashlib.sha256(DATA).hexdigest()}.part"


# Where it may come from


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://HOST/model.onnx", "not https"),
        ("HTTP://HOST/model.onnx", "not https"),
        ("file:///etc/passwd", "not https"),
        ("file://localhost/etc/passwd", "not https"),
        ("ftp://HOST/model.onnx", "not https"),
        ("data:application/octet-stream;base64,AAAA", "not https"),
        ("https://OTHER/model.onnx", "does not list under hosts"),
        ("//OTHER/model.onnx", "does not list under hosts"),
        ("https://localhost/model.onnx", "does not list under hosts"),
        ("https://HOST@OTHER/model.onnx", "does not list under hosts"),
        ("https://ada:pass@HOST/model.onnx", "does not list under hosts"),
        ("https://OTHER\\@HOST/model.onnx", "URL"),
        ("https://HOST/a b", "URL"),
        ("https://HOST/\x7f", "URL"),
        ("https://[HOST/model.onnx", "URL"),
        ("https://HOST.example.org/model.onnx", "does not list under hosts"),
    ],
)
def test_a_redirect_leads_nowhere_else(
    server: HttpsServer, other_server: HttpsServer, folder: Path, trusting: ssl.SSLContext, location: str, words: str
) -> None:
    """http downgrade, file://, foreign hosts and hosts in disguise: refused before any request."""
    other_server.answer = lambda handler: handler.give_file(DATA)
    target = location.replace("HOST", server.host).replace("OTHER", other_server.host)
    server.answer = lambda handler: handler.give(302, Location=target)
    with pytest.raises(DownloadError, match=words):
        get(server, folder, trusting)
    assert files_in(folder) == []
    assert len(server.asked) == 1
    assert other_server.asked == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_listed_server_is_followed(
    server: HttpsServer, other_server: HttpsServer, folder: Path, trusting: ssl.SSLContext, code: int
) -> None:
    server.answer = lambda handler: handler.give(code, Location=other_server.url("/elsewhere?signature=1"))
    other_server.answer = lambda handler: handler.give_file(DATA)
    assert get(server, folder, trusting, other_server.host).read_bytes() == DATA
    assert other_server.asked == [("/elsewhere?signature=1", None)]


def test_redirects_end(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    server.answer = lambda handler: handler.give(302, Location="/model.onnx")
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        get(server, folder, trusting)
    assert len(server.asked) == 6


def test_no_request_goes_over_http(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    entry = entry_for(server.url().replace("https:", "http:"))
    with pytest.raises(DownloadError, match="not https"):
        download(entry, (server.host,), folder, context=trusting)
    assert server.asked == []


def test_an_untrusted_certificate_is_refused(server: HttpsServer, folder: Path) -> None:
    server.answer = lambda handler: handler.give_file(DATA)
    with pytest.raises(DownloadError, match="certificate"):
        download(entry_for(server.url()), (server.host,), folder)
    assert server.asked == []
    assert files_in(folder) == []


def test_a_certificate_for_another_name_is_refused(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    host = server.host.replace("localhost", "127.0.0.1")
    with pytest.raises(DownloadError, match="certificate"):
        download(entry_for(f"https://{host}/model.onnx"), (host,), folder, context=trusting)
    assert server.asked == []


# What may come


def nothing_is_kept(server: HttpsServer, folder: Path, trusting: ssl.SSLContext, words: str) -> None:
    with pytest.raises(DownloadError, match=words) as caught:
        get(server, folder, trusting)
    assert "\n" not in str(caught.value)
    assert files_in(folder) == []


def test_another_file_of_the_same_size_is_deleted(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    server.answer = lambda handler: handler.give_file(DATA[::-1])
    nothing_is_kept(server, folder, trusting, "SHA-256")
    assert len(server.asked) == 1, "a first download is not tried again"


@pytest.mark.parametrize("data", [DATA + b"x", DATA[:-1], b""], ids=["larger", "smaller", "empty"])
def test_a_size_that_is_not_the_listed_one_is_refused_at_once(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext, data: bytes
) -> None:
    server.answer = lambda handler: handler.give_file(data)
    nothing_is_kept(server, folder, trusting, f"{len(data):,} bytes, {len(DATA):,} are listed")


def test_an_endless_body_ends_at_the_listed_size(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    sent_bytes = []

    def endless(handler: Handler) -> None:
        handler.give(200, b"", length=-1)
        for _ in range(2000):  # 500 MB, were anybody to read them
            handler.wfile.write(DATA)
            sent_bytes.append(len(DATA))

    server.answer = endless
    nothing_is_kept(server, folder, trusting, "more than the 262,144 bytes")
    assert sum(sent_bytes) < 100 * len(DATA)


def test_a_compressed_body_is_not_unpacked(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    server.answer = lambda handler: handler.give(200, bomb, length=-1, Content_Encoding="gzip")
    with pytest.raises(DownloadError):
        get(server, folder, trusting)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= len(bomb)


@pytest.mark.parametrize("status", [204, 206])
def test_an_unexpected_status_is_refused(server: HttpsServer, folder: Path, trusting: ssl.SSLContext, status: int) -> None:
    server.answer = lambda handler: handler.give(status, b"" if status == 204 else DATA)
    nothing_is_kept(server, folder, trusting, str(status))


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500, 503])
def test_an_error_of_the_server_is_reported(server: HttpsServer, folder: Path, trusting: ssl.SSLContext, status: int) -> None:
    server.answer = lambda handler: handler.give(status)
    nothing_is_kept(server, folder, trusting, f"answers {status}")


def test_a_missing_server_is_reported(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    entry = entry_for("https://localhost:9/model.onnx")
    with pytest.raises(DownloadError, match="refused"):
        download(entry, ("localhost:9",), folder, context=trusting)


# Going on


def breaks_after(count: int) -> Callable[[Handler], None]:
    """The first answer ends too early, the others do not."""
    is_first = threading.Event()

    def answer(handler: Handler) -> None:
        if not is_first.is_set():
            is_first.set()
            handler.give(200, DATA[:count], length=len(DATA))
        else:
            handler.give_file(DATA)

    return answer


def test_after_a_broken_connection_the_next_try_continues(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    server.answer = breaks_after(100_000)
    with pytest.raises(DownloadError, match=r"the connection broke at 38%\. Run the same command again"):
        get(server, folder, trusting)
    (part,) = files_in(folder)
    assert (folder / part).read_bytes() == DATA[:100_000]
    assert get(server, folder, trusting).read_bytes() == DATA
    assert server.asked[1:] == [("/model.onnx", "bytes=100000-")]


def test_a_silent_server_is_a_broken_connection(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "TIMEOUT_S", 0.2)
    is_over = threading.Event()

    def silent(handler: Handler) -> None:
        handler.give(200, DATA[:70_000], length=len(DATA))
        is_over.wait(10)

    server.answer = silent
    with pytest.raises(DownloadError, match="the connection broke at"):
        get(server, folder, trusting)
    is_over.set()
    assert len(files_in(folder)) == 1


def test_a_byte_now_and_then_is_a_broken_connection(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "PACE_S", 0.3)
    is_over = threading.Event()

    def dripping(handler: Handler) -> None:
        handler.give(200, b"", length=len(DATA))
        while not is_over.wait(0.02):
            handler.wfile.write(b"x")

    server.answer = dripping
    with pytest.raises(DownloadError, match=r"the connection broke at 0%\. Run the same command again"):
        get(server, folder, trusting)
    is_over.set()


def test_a_head_that_drips_ends_at_the_time_out(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "TIMEOUT_S", 0.3)
    is_over = threading.Event()

    def dripping(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not is_over.wait(0.02):
            handler.wfile.write(b"x")

    server.answer = dripping
    with pytest.raises(DownloadError, match="the connection broke at 0%"):
        get(server, folder, trusting)
    is_over.set()


def begun(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True)
    part = folder / f"{hashlib.sha256(DATA).hexdigest()}.part"
    part.write_bytes(data)
    return part


@pytest.mark.parametrize(
    "beginning", [b"another file" * 1000, b"x" * len(DATA), DATA + b"x", DATA], ids=["changed", "full", "too long", "whole"]
)
def test_a_partial_file_with_other_content_is_deleted(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext, beginning: bytes
) -> None:
    begun(folder, beginning)
    server.answer = lambda handler: handler.give_file(DATA)
    assert get(server, folder, trusting).read_bytes() == DATA
    if beginning == DATA:
        assert server.asked == [], "the file was complete"


def test_a_file_that_changed_on_the_server_meanwhile_is_refused(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext
) -> None:
    begun(folder, DATA[:1000])
    server.answer = lambda handler: handler.give_file(DATA[::-1])
    nothing_is_kept(server, folder, trusting, "SHA-256")
    assert [wanted for _, wanted in server.asked] == ["bytes=1000-", None], "once again from the start, but only once"


def test_a_file_that_is_shorter_on_the_server_by_now_is_refused(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext
) -> None:
    begun(folder, DATA[:1000])
    server.answer = lambda handler: handler.give_file(DATA[:500])
    nothing_is_kept(server, folder, trusting, "500 bytes")


def test_a_server_without_ranges_sends_the_whole_file(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    begun(folder, b"not even the right beginning")
    server.answer = lambda handler: handler.give(200, DATA)
    assert get(server, folder, trusting).read_bytes() == DATA
    assert len(server.asked) == 1


@pytest.mark.parametrize("content_range", ["", "bytes 0-262143/262144", "bytes 1000-262143/*", "bytes 1000-262144/262145", "x"])
def test_another_part_than_the_rest_is_refused(
    server: HttpsServer, folder: Path, trusting: ssl.SSLContext, content_range: str
) -> None:
    begun(folder, DATA[:1000])
    server.answer = lambda handler: handler.give(206, DATA[1000:], Content_Range=content_range)
    nothing_is_kept(server, folder, trusting, "asked for the bytes from")


def test_a_second_download_at_the_same_time_is_an_error(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    part = begun(folder, DATA[:10])
    with (
        filelock.FileLock(str(part.with_suffix(".lock"))),
        pytest.raises(DownloadError, match="another process is downloading this model"),
    ):
        get(server, folder, trusting)
    assert part.read_bytes() == DATA[:10]


def test_a_folder_that_cannot_be_made_is_an_error(server: HttpsServer, tmp_path: Path, trusting: ssl.SSLContext) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DownloadError, match="XDG_DATA_HOME"):
        get(server, tmp_path / "file" / "downloads", trusting)
    assert server.asked == []


def test_old_partial_files_are_removed(server: HttpsServer, folder: Path, trusting: ssl.SSLContext) -> None:
    folder.mkdir()
    old, new = folder / "old.part", folder / "new.part"
    for path in (old, new):
        path.write_bytes(b"begun")
    os.utime(old, (0, 0))
    server.answer = lambda handler: handler.give_file(DATA)
    get(server, folder, trusting)
    assert not old.exists()
    assert new.exists()
