"""Files appear whole or not at all."""

from __future__ import annotations

import os
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
