"""A folder for the user's own models, and an https server to download from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ....https_server import authority, other_server, server, trusting

__all__ = ["authority", "other_server", "own_folder", "server", "trusting"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own models, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "data" / "realtime-segmentation" / "models"
