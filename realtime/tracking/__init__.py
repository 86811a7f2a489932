"""Trackers: objects of single frames in, ids that persist out.

Each plain module of this folder is a tracker, called by the module's name. It offers `Settings`, a frozen dataclass whose fields
all have defaults, and `create(settings) -> Tracker`. What trackers share lies in the folder `common`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, cast

from engines.nearest import did_you_mean
from realtime.errors import SettingsError
from realtime.types import Tracker


def names() -> tuple[str, ...]:
    """The trackers there are, sorted. Imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg))


def open_tracker(name: str, **settings: Any) -> Tracker:
    """A new tracker without tracks.

    settings: fields of that tracker's `Settings`; those left out keep their defaults.
    Raises SettingsError for a name, a setting or a value that does not exist, naming what does.
    """
    _check_known("tracker", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    known = [field.name for field in fields(module.Settings)]
    for key in settings:
        _check_known(f"setting of tracker {name}", key, known)
    return cast(Tracker, module.create(module.Settings(**settings)))


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    known = tuple(known)
    if name in known:
        return
    raise SettingsError(f'no {what} is called "{name}"; there are: {", ".join(known) or "none"}{did_you_mean(name, known)}')
