"""The machine's key: created once, readable by its owner only, and trusted only while that holds."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from engines.errors import BackendUnavailableError
from engines.plans.signing import KEY_BYTES, MachineKey


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "engine.key"


def test_only_the_signature_of_this_machine_verifies(path: Path, tmp_path: Path) -> None:
    key, other = MachineKey(path), MachineKey(tmp_path / "other.key")
    signature = key.sign(b"engine")
    assert len(signature) == 64
    assert MachineKey(path).verify(b"engine", signature)
    assert not key.verify(b"engine!", signature)
    assert not key.verify(b"engine", signature[:-1] + ("0" if signature[-1] != "0" else "1"))
    assert not key.verify(b"engine", "")
    assert not key.verify(b"engine", "é" * 64)
    assert other.sign(b"engine") != signature
    assert not other.verify(b"engine", signature)


def test_the_key_is_random_and_for_its_owner_only(path: Path) -> None:
    MachineKey(path).sign(b"")
    assert len(path.read_bytes()) == KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"


def test_without_a_key_nothing_verifies_and_none_is_created(path: Path) -> None:
    assert not MachineKey(path).verify(b"engine", "0" * 64)
    assert not path.parent.exists()


def test_the_key_is_in_the_users_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert MachineKey().path == tmp_path / "realtime-segmentation" / "engine.key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o620])
def test_a_key_open_to_other_users_is_refused_with_its_cure(path: Path, mode: int) -> None:
    key = MachineKey(path)
    signature = key.sign(b"engine")
    path.chmod(mode)
    for use in (lambda: key.sign(b"engine"), lambda: key.verify(b"engine", signature)):
        with pytest.raises(BackendUnavailableError, match=r"other users may read .*Delete it: a new one is made"):
            use()
    path.chmod(0o600)
    assert key.verify(b"engine", signature)


def test_a_key_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MachineKey(path).sign(b"engine")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(BackendUnavailableError, match="belongs to another user"):
        MachineKey(path).sign(b"engine")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o720, 0o702, 0o1777])
def test_a_key_in_a_folder_of_everybody_is_refused_and_none_is_made_there(path: Path, mode: int) -> None:
    key = MachineKey(path)
    signature = key.sign(b"engine")
    path.parent.chmod(mode)
    said = f"other users may write into {path.parent}.*chmod go-w {path.parent}"
    for use in (lambda: key.sign(b"engine"), lambda: key.verify(b"engine", signature)):
        with pytest.raises(BackendUnavailableError, match=said):
            use()
    path.unlink()
    with pytest.raises(BackendUnavailableError, match=said):
        key.sign(b"engine")
    assert list(path.parent.iterdir()) == []
    path.parent.chmod(0o700)
    assert not key.verify(b"engine", signature)
    assert key.verify(b"engine", key.sign(b"engine"))


def test_a_folder_of_everybody_further_up_counts_unless_it_protects_its_entries(path: Path, tmp_path: Path) -> None:
    key = MachineKey(path)
    signature = key.sign(b"engine")
    tmp_path.chmod(0o777)
    with pytest.raises(BackendUnavailableError, match=f"other users may write into {tmp_path},"):
        key.verify(b"engine", signature)
    tmp_path.chmod(0o1777)  # as /tmp
    assert key.verify(b"engine", signature)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_key_that_is_a_link_is_refused(path: Path, tmp_path: Path, is_there: bool) -> None:
    path.parent.mkdir(mode=0o700)
    if is_there:
        MachineKey(tmp_path / "target").sign(b"")
    path.symlink_to(tmp_path / "target")
    with pytest.raises(BackendUnavailableError, match=r"is a link to another file\. Delete it"):
        MachineKey(path).sign(b"engine")
    assert (tmp_path / "target").exists() == is_there, "nothing is written through the link"


def test_a_key_that_is_a_pipe_is_not_waited_for(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path, 0o600)
    with pytest.raises(BackendUnavailableError, match="is not a file"):
        MachineKey(path).sign(b"engine")


@pytest.mark.parametrize("size_bytes", [0, KEY_BYTES - 1, KEY_BYTES + 1, 10_000])
def test_a_key_of_the_wrong_length_is_refused(path: Path, size_bytes: int) -> None:
    path.parent.mkdir()
    path.write_bytes(b"k" * size_bytes)
    path.chmod(0o600)
    with pytest.raises(BackendUnavailableError, match=r"damaged .*Delete it"):
        MachineKey(path).sign(b"engine")


def test_a_folder_that_cannot_hold_a_key_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendUnavailableError, match=r"cannot be created \(.+\)\. Make .*XDG_STATE_HOME"):
        MachineKey(tmp_path / "file" / "engine.key").sign(b"engine")
    (tmp_path / "engine.key").mkdir()
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        MachineKey(tmp_path / "engine.key").sign(b"engine")


def test_threads_that_create_the_key_at_once_get_the_same_one(tmp_path: Path) -> None:
    for turn in range(20):
        path = tmp_path / str(turn) / "engine.key"
        start, signatures = threading.Barrier(6), set()

        def sign(path: Path = path, start: threading.Barrier = start, signatures: set[str] = signatures) -> None:
            start.wait()
            signatures.add(MachineKey(path).sign(b"engine"))

        threads = [threading.Thread(target=sign) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(signatures) == 1
        assert list(path.parent.iterdir()) == [path]
