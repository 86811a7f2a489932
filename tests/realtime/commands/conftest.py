"""A user's folders, empty, an https server to get models from, and what commands print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import trustme

from realtime.cli import main

from ...https_server import HttpsServer, authority, server

__all__ = ["authority", "home", "server", "trusted_server"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new working directory; returns the path of the folder of the user's own models, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "data" / "realtime-segmentation" / "models"


@pytest.fixture
def trusted_server(
    server: HttpsServer, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HttpsServer]:
    """A server whose certificate the system trusts, through OpenSSL's environment variable."""
    certificate = tmp_path / "certificate.pem"
    authority.cert_pem.write_to_path(str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("no_proxy", "*")
    return server


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """One picture in two greys: ground above, car below."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    image = np.full((120, 160, 3), 40, np.uint8)
    image[60:] = 125
    cv2.imwrite(str(folder / "grey.png"), image)
    return folder


def files_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def lines_of(text: str) -> dict[str, str]:
    """First word of a line → the rest of it."""
    return dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1)


def error_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert main(arguments) == 2
    out_err = capsys.readouterr()
    assert out_err.err.startswith("error: ")
    assert len(out_err.err.splitlines()) == 1
    return out_err.err


@pytest.fixture
def nets_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "nets"
    folder.mkdir()
    return folder
