"""Versions of the program and of the packages it uses."""

import importlib.metadata
from collections.abc import Iterable


def version() -> str:
    """Like "0.1.0"; "unknown" in a checkout that was never installed."""
    return installed(["realtime-segmentation"]).get("realtime-segmentation", "unknown")


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The versions of the installed ones, by name."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
