"""`run.py models`: the models that can be run, and the user's own: added, downloaded, checked, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from realtime.commands.common.options import BUNDLED_CLIPS, MODEL, Command, argument, group, option, switch

if TYPE_CHECKING:
    from realtime.commands.common.owning import TrialOptions


class Options(NamedTuple):
    model: str | None = option(MODEL, "the same as models info")


class Info(NamedTuple):
    model: str = argument(MODEL, "a bundled model, your own, or any ONNX file")


class Trial(NamedTuple):
    backend: str = option("NAME", "what to try it with (default: auto, the fastest here)", default="auto")
    frames: str | None = option("FILE|DIR", f"what to try it on ({BUNDLED_CLIPS})")
    preview: str | None = option("FILE.png", "picture of what it saw (default: out/NAME-preview.png)")

    def options(self) -> TrialOptions:
        from realtime.commands.common.owning import TrialOptions

        return TrialOptions(*self)


class Add(NamedTuple):
    file: str = argument("FILE.onnx", "missing metadata can go in FILE.toml next to it: docs/models.md")
    card: str | None = option("CARD.toml", "a card in another place (default: the one next to the file)")
    name: str | None = option("NAME", "default: the file's")
    trial: Trial = group(Trial)


class Get(NamedTuple):
    model: str | None = argument("NAME", "without a name: list what can be downloaded", nargs="?")
    name: str | None = option("NAME", "name for the model here (default: the same)")
    accept_licence: bool = switch("accept the licence without a question")
    manifest: str | None = option("FILE.toml", "a list of your own (default: the one of the program)")
    trial: Trial = group(Trial)


class Verify(NamedTuple):
    model: str | None = argument("NAME", "only this one", nargs="?")


class Remove(NamedTuple):
    model: str = argument("NAME", "as models lists it")


def info(options: Options | Info) -> int:
    from realtime.commands.common.listing import list_models

    return list_models(options.model)


def add(options: Add) -> int:
    from realtime.commands.common import owning

    return owning.add(options.file, card=options.card, name=options.name, trial=options.trial.options())


def get(options: Get) -> int:
    from realtime.commands.common import owning

    return owning.get(
        options.model,
        name=options.name,
        accept_licence=options.accept_licence,
        manifest=options.manifest,
        trial=options.trial.options(),
    )


def verify(options: Verify) -> int:
    from realtime.commands.common import owning

    return owning.verify(options.model)


def remove(options: Remove) -> int:
    from realtime.commands.common import owning

    return owning.remove(options.model)


COMMAND = Command(
    "models",
    Options,
    info,
    help="list the models; add your own",
    description="List the models, or do something with one of them.",
    example=("run.py models", "the models; models add FILE.onnx gives a network of your own a name"),
    rank=30,
    actions=(
        Command("info", Info, info, help="everything that is known of a model"),
        Command(
            "add",
            Add,
            add,
            help="give an ONNX file a name that works with --model everywhere",
            description="Inspect an ONNX file, write its card, run it once on real frames, and keep it under a name.",
        ),
        Command(
            "get",
            Get,
            get,
            help="download a listed model, after showing its licence",
            description="Download a model of the manifest: its licence is shown first, its hash is checked.",
        ),
        Command(
            "verify",
            Verify,
            verify,
            help="compare files with the hashes in their cards",
            description="Read every model's file and compare its SHA-256 with its card.",
        ),
        Command("remove", Remove, remove, help="delete a model of your own"),
    ),
)
