from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engines.models.card import MAX_CARD_BYTES, read_toml, to_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
scalars = texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
values = scalars | st.lists(scalars, max_size=4)
facts = st.dictionaries(texts, values | st.dictionaries(texts, values, max_size=4), max_size=6)


@settings(deadline=None, max_examples=150)
@given(facts)
@example({"a": "\n"})
@example({"a": "\nfirst\n\nlast\n"})
@example({"a": 'quotes """\nand \\ at the end\\'})
@example({"a": "x\x7f\x00\r\n\t\x85"})
@example({"a": "one\r\ntwo", "": {"": ["\n", ""]}})
@example({"a": math.inf, "b": -math.inf, "c": 5e-324, "d": 1e22, "e": -0.0})
@example({"\n": 1, 'a"b': {"c.d": True}, "-": [], "_": {}})
def test_a_written_card_is_read_back(given_facts: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(given_facts)) == given_facts


@settings(deadline=None, max_examples=50)
@given(facts)
def test_the_file_is_what_the_text_was(tmp_path_factory: pytest.TempPathFactory, given_facts: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("card") / "card.toml"
    path.write_text(to_toml(given_facts), encoding="utf-8")
    assert read_toml(path) == given_facts
    assert path.stat().st_size < MAX_CARD_BYTES


def test_a_number_that_is_none_stays_one() -> None:
    assert math.isnan(tomllib.loads(to_toml({"figures": {"mIoU": math.nan}}))["figures"]["mIoU"])


def test_half_a_character_is_replaced() -> None:
    """A file name with bytes that are no text has such; a card that can't be written would be worse."""
    text = to_toml({"recipe": "from r\udcffad.onnx", "r\udcffad": 1})
    assert tomllib.loads(text) == {"recipe": "from r?ad.onnx", "r?ad": 1}
    text.encode("utf-8")


def test_it_reads_like_a_card_written_by_hand() -> None:
    card = {"name": "road", "classes": ("sky", 'a "b"'), "data": "one\ntwo", "input": {"size_px": [64, 48], "fit": "stretch"}}
    assert to_toml(card).splitlines() == [
        'name = "road"',
        'classes = ["sky", "a \\"b\\""]',
        'data = """',
        'one',
        'two"""',
        "",
        "[input]",
        "size_px = [64, 48]",
        'fit = "stretch"',
    ]  # fmt: skip
    assert to_toml({}) == "\n"
