"""Whatever a library raises while a source opens or plays is the project's error, of one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.errors import SourceLostError, SourceOpenError
from realtime.sources import open_source
from realtime.sources.common.base import FrameSource, Picture

ERRORS = [
    IndexError("list index out of range"),
    LookupError(),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    MemoryError(),
    OSError(5, "Input/output error"),
    cv2.error("x\ny"),
    RuntimeError("a\nb"),
]


class Broken(FrameSource):
    def __init__(self, error: Exception) -> None:
        super().__init__("broken")
        self._error = error

    def _pictures(self) -> Iterator[Picture]:
        yield Picture(np.zeros((8, 8, 3), np.uint8), 0.0, 1)
        raise self._error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_library_raises_ends_a_source_with_one_line(error: Exception) -> None:

    source = Broken(error)
    with pytest.raises(SourceLostError, match=r"^broken: .+") as caught:
        list(source)
    assert "\n" not in str(caught.value)
    assert source.status.state == "ended"


def test_whatever_a_library_raises_while_opening_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    (tmp_path / "pictures").mkdir()
    monkeypatch.setattr(Path, "iterdir", lambda self: (_ for _ in ()).throw(PermissionError(13, "Permission denied", str(self))))
    with pytest.raises(SourceOpenError, match=r"pictures: permission denied\. Check its permissions"):
        open_source(str(tmp_path / "pictures"))
