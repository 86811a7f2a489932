"""Trackers: objects of single frames in, ids that persist out.

Each plain module of this folder is a tracker, called by the module's name. It offers `Settings`, a frozen dataclass whose fields
all have defaults, and `create(settings) -> Tracker`. What trackers share lies in the folder `common`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from typing import Any, cast

from engines.errors import did_you_mean
from engines.loading import load_module, module_names
from realtime.errors import SettingsError
from realtime.types import Tracker


def names() -> tuple[str, ...]:
    """The trackers there are, sorted. Imports none of them."""
    return module_names(__path__)


def open_tracker(name: str, **settings: Any) -> Tracker:
    """A new tracker without tracks.

    settings: fields of that tracker's `Settings`; those left out keep their defaults. A group of them, such as `noise`, may also
    be given as a table of its own fields, as it stands in a preset.
    Raises SettingsError for a name, a setting or a value that does not exist, naming what does.
    """
    _check_known("tracker", name, names())
    module = load_module(__name__, name)
    known = {field.name: field for field in fields(module.Settings)}
    for key in settings:
        _check_known(f"setting of tracker {name}", key, known)
    values = {key: _group(key, known[key], value) for key, value in settings.items()}
    return cast(Tracker, module.create(module.Settings(**values)))


def _group(name: str, setting: Field[Any], value: Any) -> Any:
    """`value`, or the group of settings that it describes. Raises SettingsError where that is of the wrong kind."""
    group: Any = setting.default_factory
    if not isinstance(group, type) or isinstance(value, group):
        return value
    if not isinstance(value, Mapping):
        raise SettingsError(f"tracking: {name} = {value!r} must be a table: {', '.join(field.name for field in fields(group))}")
    for key in value:
        _check_known(f"setting of {name}", key, [field.name for field in fields(group)])
    return group(**value)


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    known = tuple(known)
    if name in known:
        return
    raise SettingsError(f'no {what} is called "{name}"; there are: {", ".join(known) or "none"}{did_you_mean(name, known)}')
