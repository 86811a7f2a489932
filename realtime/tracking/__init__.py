"""Trackers: objects of single frames in, persistent ids out.

Each plain module of this folder is a tracker, named after the module. It offers `Settings`, a frozen dataclass with
defaults for all fields, and `create(settings) -> Tracker`. Shared parts are in the package `common`.
"""

from collections.abc import Collection, Mapping
from dataclasses import Field, fields
from types import ModuleType
from typing import Any, cast

from engines.errors import choices
from engines.loading import load_module, module_names
from realtime.errors import SettingsError
from realtime.types import Tracker


def names() -> tuple[str, ...]:
    """The names of all trackers, sorted. Imports none of them."""
    return module_names(__path__)


def open_tracker(name: str, **settings: Any) -> Tracker:
    """A new tracker without tracks.

    settings: fields of that tracker's `Settings`; the others keep their defaults. A group of settings, such as `noise`, may also
    be given as a table of its fields, as in a preset.
    Raises SettingsError for a name, a setting or a value that does not exist.
    """
    module = _module(name)
    known = {field.name: field for field in fields(module.Settings)}
    for key in settings:
        _check_known(f"setting of tracker {name}", key, known)
    values = {key: _group(key, known[key], value) for key, value in settings.items()}
    return cast(Tracker, module.create(module.Settings(**values)))


def own_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `settings` that the tracker `name` has; the others belong to other trackers.

    Raises SettingsError for a tracker, or a setting of any tracker, that does not exist.
    """
    own = {field.name for field in fields(_module(name).Settings)}
    others = {key: value for key, value in settings.items() if key not in own}
    if others:
        known = {field.name: field for other in names() for field in fields(_module(other).Settings)}
        for key, value in others.items():
            _check_known("setting of a tracker", key, known)
            _group(key, known[key], value)
    return {key: value for key, value in settings.items() if key in own}


def _module(name: str) -> ModuleType:
    _check_known("tracker", name, names())
    return load_module(__name__, name)


def _group(name: str, setting: Field[Any], value: Any) -> Any:
    """`value`, or the group of settings that it describes. Raises SettingsError for a value of another kind."""
    group: Any = setting.default_factory
    if not isinstance(group, type) or isinstance(value, group):
        return value
    known = [field.name for field in fields(group)]
    if not isinstance(value, Mapping):
        raise SettingsError(f"tracking: {name} = {value!r} is not a table", f"Give a table of {', '.join(known)}")
    for key in value:
        _check_known(f"setting of {name}", key, known)
    return group(**value)


def _check_known(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise SettingsError(f'no {kind} is called "{name}"', choices(name, known))
