"""`run.py teach`: labels from trained models, for images that nobody labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from realtime.commands.common.options import positive, share

NAME = "teach"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="label images with trained models, to train on",
        description="Label a folder's images with trained models, in a recipe's classes; what they are unsure of stays void.",
    )
    parser.add_argument(
        "teachers", metavar="TEACHER.onnx", nargs="+", help="models with cards; the recipe says what their classes mean"
    )
    parser.add_argument("--recipe", metavar="NAME", required=True, help="the recipe whose classes are written")
    parser.add_argument("--data", metavar="DIR", required=True, help="a folder with images/; its labels/, if any, are respected")
    parser.add_argument("--out", metavar="DIR", required=True, help="the set to write")
    parser.add_argument("--sure", metavar="0..1", type=share, default=0.6, help="less probable labels stay void (default: 0.6)")
    parser.add_argument("--every", metavar="N", type=positive, default=1, help="only every Nth image: neighbours are alike")


def run(options: dict[str, Any]) -> int:
    """Write the set."""
    from engines.datasets.settings import open_settings
    from engines.training.opening import read_recipe
    from engines.training.teach import teach

    recipe, folder, out = read_recipe(options["recipe"]), Path(options["data"]), Path(options["out"])
    known = None
    if (folder / "labels").is_dir():
        of_the_recipe = (settings for settings in recipe.sets if settings.name == folder.resolve().name)
        known = next(of_the_recipe, None) or open_settings(folder)[1]
    teachers = [Path(path) for path in options["teachers"]]
    teach(teachers, recipe, folder, known, out, min_probability=options["sure"], every=options["every"])
    print(f"written  {out}: look at it with run.py data check {out}")
    return 0
