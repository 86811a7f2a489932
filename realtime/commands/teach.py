"""Label images with trained models, to train on.

Label a folder's images with trained models, in a recipe's classes; uncertain pixels stay void.
"""

from pathlib import Path
from typing import NamedTuple

from realtime.commands.common.options import Command, argument, option
from realtime.commands.common.values import positive, share


class Options(NamedTuple):
    teachers: tuple[str, ...] = argument("TEACHER.onnx", "models with cards; the recipe maps their classes", nargs="+")
    recipe: str = option("NAME", "the recipe whose classes are written", required=True)
    data: str = option("DIR", "a folder with images/; its labels/, if any, are respected", required=True)
    out: str = option("DIR", "the set to write", required=True)
    sure: float = option("0..1", "less probable labels stay void (default: 0.6)", share, 0.6)
    every: int = option("N", "only every Nth image: neighbours are alike", positive, 1)


def run(options: Options) -> int:
    """Write the set."""
    from engines.datasets.settings import open_settings
    from engines.training.opening import read_recipe
    from engines.training.teach import teach

    recipe, folder, out = read_recipe(options.recipe), Path(options.data), Path(options.out)
    known = None
    if (folder / "labels").is_dir():
        of_the_recipe = (settings for settings in recipe.sets if settings.name == folder.resolve().name)
        known = next(of_the_recipe, None) or open_settings(folder)[1]
    teachers = [Path(path) for path in options.teachers]
    teach(teachers, recipe, folder, known, out, min_probability=options.sure, every=options.every)
    print(f"written  {out}: look at it with run.py data check {out}")
    return 0


COMMAND = Command("teach", Options, run, __doc__, rank=60)
