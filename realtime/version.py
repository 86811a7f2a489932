"""The program's version, from the installed package."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    """Like "0.1.0"; "unknown" in a checkout that was never installed."""
    try:
        return importlib.metadata.version("realtime-segmentation")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
