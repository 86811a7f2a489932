"""Commands and their options: each is declared once, as a field of a named tuple; argparse reads them.

    class Options(NamedTuple):
        source: str = argument("SOURCE", "what to run over")
        rate: float = option("HZ", "frames a second (default: 30)", number(1, 1000), 30.0)
        quick: bool = switch("takes seconds, for smoke tests")
        running: Running = group(Running)

Named tuples, since `run.py --help` imports every command, and a dataclass takes six times as long to define.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Generic, NamedTuple, TypeVar

from engines.loading import module_names
from realtime.commands.common.values import engine_value, positive

MODEL = "NAME|FILE.onnx"
MODEL_HELP = "a model that run.py models lists, or an ONNX file"
BUNDLED_CLIPS = "default: the clips that are installed with the program"

O = TypeVar("O", bound=tuple[Any, ...])  # noqa: E741


class Command(Generic[O]):
    """A command of run.py, or an action of one. Its module holds it as COMMAND and imports nothing heavy at the top."""

    def __init__(
        self,
        name: str,
        options: type[O],
        run: Callable[[O], int] | None,
        about: str | None,
        *,
        example: tuple[str, str] = ("", ""),
        epilog: Callable[[], str] = str,
        rank: int = 1000,
        actions: tuple[Command[Any], ...] = (),
    ) -> None:
        """run: returns the process's exit code; raises SegmentationError. None: one of `actions` must be named.

        about: the module's docstring: a line for the list of commands, then the description in the command's own help.
        example: a command line and what it does, for `run.py --help`. rank: its place in that list, the lowest first.
        epilog: makes the text below the command's own help.
        """
        self.name, self.options, self.run = name, options, run
        self.line, _, rest = (about or "").strip().partition("\n\n")
        self.description = rest or self.line
        self.example, self.epilog, self.rank, self.actions = example, epilog, rank, actions


class Declared(NamedTuple):
    """How a field is given on the command line.

    flag: "" stands for the field's name, None for a positional argument. settings: those of `add_argument`.
    fields, make, title: of a group, its fields, what makes its value from theirs, and its heading in the help.
    """

    flag: str | None = None
    settings: Mapping[str, Any] = {}
    fields: Callable[[], Mapping[str, Declared]] | None = None
    make: Callable[..., Any] = dict
    title: str = ""


def argument(metavar: str, help: str, **settings: Any) -> Any:
    """A positional argument: required, unless `settings` have nargs="?" and perhaps a default."""
    return Declared(None, {"metavar": metavar, "help": help, **settings})


def option(
    metavar: str, help: str, type: Callable[[str], Any] = str, default: Any = None, *, flag: str = "", **settings: Any
) -> Any:
    """An option with a value. flag: where it is not the field's name."""
    return Declared(flag, {"metavar": metavar, "help": help, "type": type, "default": default, **settings})


def repeated(metavar: str, help: str, **settings: Any) -> Any:
    """An option that may be given several times: a tuple."""
    return Declared("", {"metavar": metavar, "help": help, "action": "append", "default": [], **settings})


def switch(help: str, *, or_not: bool = False) -> Any:
    """An option without a value: True where it is given. or_not: --no-NAME gives False, neither of them None."""
    return Declared("", {"action": argparse.BooleanOptionalAction if or_not else "store_true", "help": help})


def group(kind: type[tuple[Any, ...]], title: str = "") -> Any:
    """The fields of another named tuple; with a title, under a heading of their own."""
    return Declared(fields=lambda: fields_of(kind), make=kind, title=title)


def collected(fields: Callable[[], Mapping[str, Declared]], title: str = "") -> Any:
    """Options that are only known when the command is parsed: a dict of those that are given."""
    return Declared(fields=fields, make=_given, title=title)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def engine_group(title: str, without: Container[str] = (), size: tuple[str, str] | None = None) -> Any:
    """The fields of `EngineOptions`: a dict of those that are given. size: what --size takes, and its help, where they differ."""

    def fields() -> Mapping[str, Declared]:
        from engines.backends.common.options import declared

        return {
            name: option(
                *(size if size and name == "input_px" else (spec.metavar, spec.help)), engine_value(kind, spec), flag=spec.flag
            )
            for name, (kind, spec) in declared().items()
            if name not in without
        }

    return collected(fields, title)


def names_in(package: str) -> str:
    """The names in a registry, for a help text. Does not import it."""
    spec = find_spec(package)
    return ", ".join(name.replace("_", "-") for name in module_names((spec and spec.submodule_search_locations) or ()))


BACKENDS = f"auto, {names_in('engines.backends')} (default: auto, the fastest that works)"


class Running(NamedTuple):
    """Options of every command that runs a model over a source. None: the preset, or else the settings' default."""

    model: str | None = option(MODEL, f"{MODEL_HELP} (default: what suits the source, people or road)")
    backend: str | None = option("NAME", BACKENDS)
    tracker: str | None = option("NAME", f"{names_in('realtime.tracking')} (default: auto)")
    preset: str | None = option("NAME", "webcam, dashcam, or a .toml file of settings")
    width: int | None = option("PX", "the picture is at most this wide (default: 1280)", positive)
    threshold: float | None = option("0..1", "lowest score of an object that is shown (default: the model's)", float)
    smooth: bool | None = switch(
        "no flicker where the picture stands still (default: soft edges always, classes in a window only)", or_not=True
    )
    background: str | None = option(
        "none|blur|#RRGGBB|FILE", "with a model that gives a matte: put a blur, a colour or a picture behind the foreground"
    )
    decode: str | None = option("auto|cpu|gpu", "where video is decoded (default: auto, the GPU where that works)")
    encoder: str | None = option("auto|cpu|gpu", "where a video that is written is encoded (default: auto)")
    engine: dict[str, Any] = engine_group("size of the network, and with --backend trt which of its engines (see run.py build)")


def fields_of(kind: type[tuple[Any, ...]]) -> Mapping[str, Declared]:
    """The fields of a named tuple of options."""
    fields: Mapping[str, Declared] = kind._field_defaults  # type: ignore[attr-defined]  # every named tuple has it
    return fields


def add_options(parser: argparse._ActionsContainer, fields: Mapping[str, Declared], prefix: str = "") -> None:
    """Add options to a parser. Their values are found under `prefix` and the field's name."""
    for name, declared in fields.items():
        if declared.fields is not None:
            inner = parser.add_argument_group(declared.title) if declared.title else parser
            add_options(inner, declared.fields(), f"{prefix}{name}.")
        elif declared.flag is None:
            parser.add_argument(prefix + name, **declared.settings)
        else:
            parser.add_argument(declared.flag or f"--{name.replace('_', '-')}", dest=prefix + name, **declared.settings)


def read_options(make: Callable[..., O], fields: Mapping[str, Declared], values: Mapping[str, Any], prefix: str = "") -> O:
    """What `make` makes of the options' values that the parser found."""
    found: dict[str, Any] = {}
    for name, declared in fields.items():
        if declared.fields is not None:
            found[name] = read_options(declared.make, declared.fields(), values, f"{prefix}{name}.")
        else:
            value = values[prefix + name]
            found[name] = tuple(value) if isinstance(value, list) else value
    return make(**found)


def parsed(kind: type[O], words: Sequence[str] = ()) -> O:
    """The options of a command line with these words; without any, the defaults. Calling `kind` itself does not give those."""
    parser = argparse.ArgumentParser()
    add_options(parser, fields_of(kind))
    return read_options(kind, fields_of(kind), vars(parser.parse_args(words)))


def flags_of(kind: type[tuple[Any, ...]]) -> list[str]:
    """Every option of a command, as it is typed."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser, fields_of(kind))
    return list(parser._option_string_actions)
