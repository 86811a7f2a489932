"""docs/data.md agrees with the code: its keys are those of a set, its files can be read, its commands exist."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from engines.datasets.settings import FOLDER_KEY, SetSettings, settings_from_dict
from realtime.commands.common.parsing import build_parser

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
FILES = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)]
COMMANDS = re.findall(r"^python run\.py (.*)$", TEXT, re.MULTILINE)


def test_the_table_has_every_key_and_no_other() -> None:
    keys = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert sorted(keys) == sorted([*SetSettings.__struct_fields__, FOLDER_KEY])


def test_its_sets_are_sets() -> None:
    sets = [facts for facts in FILES if "classes" in facts]
    assert len(sets) == 2
    for facts in sets:
        settings_from_dict({"name": "here", **facts}, "docs/data.md")


def test_its_recipe_is_one(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')
    from engines.training.opening import read_recipe

    from ..engines.training.conftest import toml_of

    (facts,) = (facts for facts in FILES if "based_on" in facts)
    (tmp_path / "field.toml").write_text(toml_of(facts))
    recipe = read_recipe(str(tmp_path / "field.toml"))
    assert (recipe.name, recipe.net.width, recipe.schedule.steps, recipe.schedule.batch) == ("field", 0.5, 2000, 8)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_understood(command: str) -> None:
    build_parser().parse_args(shlex.split(command))
