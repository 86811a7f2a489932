"""`run.py models`: what there is to run, and the user's own models: added, downloaded, checked, removed."""

from __future__ import annotations

from typing import Any

from realtime.commands.common.options import MODEL

NAME = "models"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="list the models there are; add your own",
        description="List the models there are, or do something with one of them.",
    )
    parser.add_argument("--model", metavar=MODEL, help="the same as models info: everything that is known of this one")
    actions = parser.add_subparsers(dest="action", metavar="{info,add,get,verify,remove}")

    info = actions.add_parser("info", help="everything that is known of one", description="Everything that is known of a model.")
    info.add_argument("model", metavar=MODEL, help="a bundled model, your own, or any ONNX file")

    add = actions.add_parser(
        "add",
        help="give an ONNX file a name: NAME then works with --model everywhere",
        description="Inspect an ONNX file, write its card, run it once on real frames, and keep it under a name.",
    )
    add.add_argument("file", metavar="FILE.onnx", help="what it does not tell may stand in FILE.toml beside it: docs/models.md")
    add.add_argument("--card", metavar="CARD.toml", help="a card that lies elsewhere (default: the one beside the file)")
    add.add_argument("--name", metavar="NAME", help="default: the file's")
    _add_trial(add)

    get = actions.add_parser(
        "get",
        help="download one that is listed, after showing its licence",
        description="Download a model that the manifest lists: its licence is shown first, its hash is checked.",
    )
    get.add_argument("model", metavar="NAME", nargs="?", help="without a name: list what can be downloaded")
    get.add_argument("--name", metavar="NAME", help="what to call it here (default: the same)")
    get.add_argument("--accept-licence", action="store_true", help="do not ask whether its licence is accepted")
    get.add_argument("--manifest", metavar="FILE.toml", help="a list of your own (default: the one that comes along)")
    _add_trial(get)

    verify = actions.add_parser(
        "verify",
        help="compare files with the hashes in their cards",
        description="Read every model's file whole and compare its SHA-256 with its card.",
    )
    verify.add_argument("model", metavar="NAME", nargs="?", help="only this one")

    remove = actions.add_parser("remove", help="delete one of your own", description="Delete a model of your own.")
    remove.add_argument("model", metavar="NAME", help="as models lists it")


def _add_trial(parser: Any) -> None:
    """Options of whatever tries a new model."""
    parser.add_argument("--backend", metavar="NAME", default="auto", help="what to try it with (default: auto, the fastest here)")
    parser.add_argument("--frames", metavar="FILE|DIR", help="what to try it on (default: the clips that come along)")
    parser.add_argument("--preview", metavar="FILE.png", help="where to draw what it saw (default: out/NAME-preview.png)")


def run(options: dict[str, Any]) -> int:
    """Do what was asked with the models, or list them."""
    from realtime.commands.common import listing, owning

    if options["action"] in (None, "info"):
        return listing.list_models(options["model"])
    if options["action"] == "verify":
        return owning.verify(options["model"])
    if options["action"] == "remove":
        return owning.remove(options["model"])
    trial = owning.TrialOptions(options["backend"], options["frames"], options["preview"])
    if options["action"] == "add":
        return owning.add(options["file"], card=options["card"], name=options["name"], trial=trial)
    return owning.get(
        options["model"],
        name=options["name"],
        accept_licence=options["accept_licence"],
        manifest=options["manifest"],
        trial=trial,
    )
