"""Observers: they look at one stream's results over time, and report events and numbers.

Each plain module of this folder is an observer, called by the module's name. It offers `Settings`, a frozen dataclass whose
fields all have defaults, and `create(settings, card) -> Observer`. A package here is a shared part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from engines.errors import choices
from engines.loading import load_module, module_names
from engines.models.card import ModelCard
from realtime.errors import SettingsError
from realtime.types import Event, Observer, Result

ALWAYS = ("counts", "ages")
"""Observers of every stream: the window and the summary show what they say."""


def names() -> tuple[str, ...]:
    """The observers there are, sorted. Imports none of them."""
    return module_names(__path__)


def check_observers(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises SettingsError for an observer, or a setting of one, that does not exist. tables: name → settings."""
    for name, settings in tables.items():
        _settings(name, settings)


def open_observers(tables: Mapping[str, Mapping[str, Any]], card: ModelCard) -> tuple[Observer, ...]:
    """New observers of one stream: those of `ALWAYS`, then those of `tables` (name → settings). Raises SettingsError."""
    every = {**{name: {} for name in ALWAYS}, **tables}
    return tuple(
        cast(Observer, load_module(__name__, name).create(_settings(name, settings), card)) for name, settings in every.items()
    )


def observed(
    observers: Sequence[Observer], result: Result, t_s: float
) -> tuple[tuple[Event, ...], dict[str, Mapping[int, float]]]:
    """What all `observers` say about `result`: events, and numbers by observer."""
    events: list[Event] = []
    numbers: dict[str, Mapping[int, float]] = {}
    for observer in observers:
        observation = observer.update(result, t_s)
        if observation is not None:
            events += observation.events
            numbers[observer.name] = observation.numbers
    return tuple(events), numbers


def _settings(name: str, table: Mapping[str, Any]) -> Any:
    if name not in names():
        raise SettingsError(f'observers: there is no observer "{name}"', choices(name, names()))
    kind = load_module(__name__, name).Settings
    known = [field.name for field in fields(kind)]
    for key in table:
        if key not in known:
            raise SettingsError(f'observers.{name}: unknown key "{key}"', choices(key, known))
    return kind(**table)
