"""A separate store and key for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.plans.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "engines", tmp_path / "state" / "engine.key")
