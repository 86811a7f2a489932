"""Files appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from engines.files import publish, whole_file, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders_and_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_whole(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    usual = tmp_path / "usual"
    usual.touch()
    assert path.stat().st_mode == usual.stat().st_mode
    assert names(path.parent) == ["b.txt"]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail() -> None:
        with whole_file(path) as part:
            part.write_bytes(b"new, but")
            assert part.suffix == ".onnx"
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.onnx"]


def test_several_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "inside").touch()
    with pytest.raises(OSError, match="blocked"):
        publish({tmp_path / "new" / "one": b"1", blocked: b"2"})
    assert names(tmp_path) == ["blocked"]
    one = tmp_path / "one"
    one.write_bytes(b"old")
    with pytest.raises(OSError, match="blocked"):
        publish({one: b"new", blocked: b"2"})
    assert (one.read_bytes(), names(tmp_path)) == (b"old", ["blocked", "one"]), "an earlier file is restored"
    publish({tmp_path / "new" / "one": b"1", tmp_path / "two": b"2"})
    assert (tmp_path / "new" / "one").read_bytes() + (tmp_path / "two").read_bytes() == b"12"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_files_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        write_whole(tmp_path / "x", b"")


def test_what_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    secret, script, fresh = tmp_path / "secret", tmp_path / "script", tmp_path / "fresh"
    for path, mode in ((secret, 0o600), (script, 0o755)):
        path.touch()
        path.chmod(mode)
    publish({secret: b"1", fresh: b"2"})
    with whole_file(script) as part:
        part.write_bytes(b"3")
    before = os.umask(0o022)
    os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (secret, script, fresh)]
    assert modes == [0o600, 0o755, 0o666 & ~before]
    assert [path.read_bytes() for path in (secret, script, fresh)] == [b"1", b"3", b"2"]


def test_links_are_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    by_text, by_path = tmp_path / "by_text", tmp_path / "by_path"
    for link in (by_text, by_path):
        link.symlink_to(victim)
    write_whole(by_text, "x")
    with whole_file(by_path) as part:
        part.write_text("x")
    assert victim.read_bytes() == b"mine"
    assert not by_text.is_symlink()
    assert not by_path.is_symlink()
    assert by_text.read_text() + by_path.read_text() == "xx"


def test_a_new_file_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "a file system without hard links")

    def write_new(path: Path) -> None:
        with whole_file(path, replaces=False) as part:
            part.write_bytes(b"new")

    for has_links in (True, False):
        if not has_links:
            monkeypatch.setattr(os, "link", no_links)
        path = tmp_path / f"{has_links}"
        write_new(path)
        assert path.read_bytes() == b"new"
        path.write_bytes(b"old")
        with pytest.raises(FileExistsError):
            write_new(path)
        assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["False", "True"]


def test_devices_pipes_and_descriptors_are_written_to_not_replaced(tmp_path: Path) -> None:
    """As root, `--json /dev/stdout` replaced the link in /dev by a file."""
    pipe, link, file = tmp_path / "pipe", tmp_path / "link.png", tmp_path / "file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with file.open("wb") as stream:
        link.symlink_to(f"/proc/self/fd/{stream.fileno()}")
        publish({pipe: b"1", link: b"2"})
        with whole_file(link) as part:
            assert part.suffix == ".png"
            part.write_bytes(b"3")
    assert (os.read(reader, 9), file.read_bytes(), link.is_symlink()) == (b"1", b"23", True)
    os.close(reader)
    assert names(tmp_path) == ["file", "link.png", "pipe"]
