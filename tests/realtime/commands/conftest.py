"""A user's folders, empty, and an https server to get models from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

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
