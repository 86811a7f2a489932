"""Which files of compiled kernels are written and removed. That changed ones are refused is tested with the backend."""

from __future__ import annotations

import msgspec
import pytest

from engines.plans import kernels
from engines.plans.kernels import KernelFile
from engines.plans.store import Store

from .examples import PLAN, RTX_3060

NEWER = msgspec.structs.replace(RTX_3060, driver_version="570.10")


def files(store: Store) -> tuple[KernelFile, KernelFile]:
    """Those of one engine with an earlier driver and with this one's."""
    return store.foreign_kernels(PLAN, RTX_3060), store.foreign_kernels(PLAN, NEWER)


def test_those_of_an_earlier_driver_are_replaced(store: Store) -> None:
    older, newer = files(store)
    older.write(b"older")
    assert older.read() == b"older"
    newer.write(b"newer")
    assert newer.read() == b"newer"
    assert not older.path.exists()


def test_those_of_an_earlier_driver_stay_where_new_ones_cannot_be_written(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Who goes back to it would compile them again."""
    older, newer = files(store)
    older.write(b"older")
    newer.path.mkdir()
    newer.write(b"newer")
    assert "cannot be written" in caplog.text
    assert older.read() == b"older"


def test_more_than_is_read_again_is_not_written(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They were written at each start, and refused at the next with a warning."""
    monkeypatch.setattr(kernels, "MAX_KERNEL_BYTES", 200)
    _, newer = files(store)
    newer.write(bytes(200))
    assert not newer.path.exists()
    room = 200 - kernels.SIGNATURE_BYTES
    newer.write(bytes(room))
    assert newer.read() == bytes(room)
    assert caplog.text == ""
