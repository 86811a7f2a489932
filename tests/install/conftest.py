"""The tests that ask the package index run when they are asked for, as .ci/run does: other tests need no network."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "index" in config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="asks the package index: python -m pytest -m index")
    for item in items:
        if item.get_closest_marker("index") is not None:
            item.add_marker(skip)
