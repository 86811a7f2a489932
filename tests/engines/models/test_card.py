from __future__ import annotations

import contextlib
import copy
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engines.errors import CardError
from engines.models.card import MAX_CARD_BYTES, InputSpec, ModelCard, card_from_dict, read_toml

GOOD: dict[str, Any] = {
    "name": "street",
    "family": "semantic",
    "classes": ["road", "car", "person", "void"],
    "things": ["car", "person"],
    "void": ["void"],
    "palette": {"road": "#804080"},
    "outputs": {"logits": "scores"},
    "licence": "MIT",
    "figures": {"CamVid mIoU": 61.5},
    "input": {
        "tensor": "image",
        "size_px": [640, 384],
        "layout": "nchw",
        "dtype": "float32",
        "channels": "rgb",
        "fit": "letterbox",
        "mean": [0, 0, 0],
        "std": [255, 255, 255],
        "pad": 114,
    },
}
GOOD_TOML = """
name = "street"
family = "semantic"
classes = ["road", "car"]
things = ["car"]
[outputs]
logits = "scores"
[palette]
road = "#804080"
[input]
tensor = "image"
size_px = [640, 384]
layout = "nchw"
dtype = "float32"
channels = "rgb"
fit = "letterbox"
mean = [0, 0, 0]
std = [255, 255, 255]
"""


def changed(path: str, value: Any) -> dict[str, Any]:
    facts = copy.deepcopy(GOOD)
    target = facts
    *tables, key = path.split(".")
    for table in tables:
        target = target[table]
    target[key] = value
    return facts


def test_a_good_card_says_what_was_written() -> None:
    card = card_from_dict(GOOD, "card.toml")

    assert card.classes == ("road", "car", "person", "void")
    assert (card.input.size.width, card.input.size.height) == (640, 384)
    assert card.input.std == (255.0, 255.0, 255.0)
    assert card.sha256 == ""
    assert [card.class_name(i) for i in (0, 3, 4, -1)] == ["road", "void", "class 4", "class -1"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("clases", ["a"], 'card.toml: unknown key "clases". Did you mean "classes"?'),
        ("zzz", 1, 'card.toml: unknown key "zzz". Known: name, family'),
        ("input.chanels", "rgb", 'card.toml: unknown key "input.chanels". Did you mean "input.channels"?'),
        ("name", 5, "card.toml: Expected `str`, got `int`, at key `name`"),
        ("classes", "road", "at key `classes`"),
        ("classes", ["road", 5], "at key `classes["),
        ("outputs", ["scores"], "at key `outputs`"),
        ("outputs.logits", 5, "at key `outputs["),
        ("figures", {"mIoU": "high"}, "at key `figures["),
        ("input", "image", "at key `input`"),
        ("input.pad", "114", "Expected `int`, got `str`, at key `input.pad`"),
        ("input.mean", [0, 0], "at key `input.mean`"),
        ("input.layout", "chw", "Invalid enum value 'chw', at key `input.layout`. Known: nchw, nhwc"),
        ("input.dtype", "float64", "Invalid enum value 'float64', at key `input.dtype`"),
        ("input.fit", "crop", "Invalid enum value 'crop', at key `input.fit`. Known: letterbox, letterbox_top_left, stretch"),
        ("input.size_px", [640.5, 384], "at key `input.size_px"),
        ("classes", [], '"classes" is empty. Write the class names'),
        ("things", ["cat"], '"things" names "cat", which is not one of its classes. Did you mean "car"?'),
        ("void", ["background"], '"void" names "background", which is not one of its classes'),
        ("palette", {"persons": "#ffffff"}, '"palette" names "persons", which is not one of its classes. Did you mean "person"?'),
        ("palette", {"car": "red"}, 'palette colour of "car" is "red". Write it as "#rrggbb"'),
        ("palette", {"car": "#12345g"}, 'palette colour of "car" is "#12345g". Write it as "#rrggbb"'),
        ("input.size_px", [4, 384], "input.size_px is (4, 384). Write [width, height], each between 8 and 8192"),
        ("input.size_px", [640, 9000], "input.size_px is (640, 9000). Write [width, height]"),
        ("input.std", [0, 1, 1], "must be above 0"),
        ("input.std", [-1, 1, 1], "must be above 0"),
        ("input.std", [1, math.nan, 1], "must be finite"),
        ("input.mean", [0, 0, math.inf], "must be finite"),
        ("input.pad", 300, "input.pad is 300. Write a number in 0..255"),
        ("input.pad", -1, "input.pad is -1. Write a number in 0..255"),
        ("input.dtype", "uint8", "a uint8 input takes pixels as they are"),
    ],
)
def test_a_wrong_fact_is_refused_by_its_key(path: str, value: Any, says: str) -> None:
    with pytest.raises(CardError) as caught:
        card_from_dict(changed(path, value), "card.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("card.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["name", "family", "input", "outputs", "classes", "input.tensor", "input.fit"])
def test_a_missing_fact_is_named(key: str) -> None:
    facts = copy.deepcopy(GOOD)
    target = facts
    *tables, last = key.split(".")
    for table in tables:
        target = target[table]
    del target[last]
    with pytest.raises(CardError, match=f"missing required field `{last}`"):
        card_from_dict(facts, "card.toml")


def test_a_card_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="classes"):
        card_from_dict(changed("classes", []), "card.toml")


def test_a_uint8_input_without_normalisation_is_fine() -> None:
    facts = changed("input.dtype", "uint8")
    facts["input"]["std"] = [1, 1, 1]
    assert card_from_dict(facts, "card.toml").input.dtype == "uint8"


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4)
)  # fmt: skip
keys = st.sampled_from([*ModelCard.__struct_fields__, *InputSpec.__struct_fields__, "road", "logits"]) | st.text(max_size=6)
values = st.recursive(
    scalars | st.sampled_from(["#804080", "nchw", "uint8", "letterbox", "road"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(keys, values, max_size=4), st.dictionaries(keys, values, max_size=3))
@example({"figures": {"a": math.nan}}, {"pad": 10**40})
@example({"classes": ["\ud800"]}, {})
def test_no_dict_raises_anything_but_a_card_error(top: dict[str, Any], inside: dict[str, Any]) -> None:
    facts = {**copy.deepcopy(GOOD), **top}
    if isinstance(facts.get("input"), dict):
        facts["input"] = {**facts["input"], **inside}
    with contextlib.suppress(CardError):
        assert isinstance(card_from_dict(facts, "card.toml"), ModelCard)


marks = st.sampled_from(["[", "]", "=", '"', "\n", "{", "}", ".", "'''", "\\u", "\x00", "\x80"])
numbers = st.sampled_from(["nan", "inf", "1e999", "2026-13-45", "[" * 3000, "9" * 5000])
edit = st.tuples(st.integers(0, len(GOOD_TOML)), marks | numbers | st.text(max_size=3), st.integers(0, 30))


@settings(deadline=None, max_examples=125)
@given(st.lists(edit, min_size=1, max_size=4))
@example([(0, "deep = " + "[" * 20_000, 0)])
@example([(0, "long = " + "9" * 5000 + "\n", 0)])
def test_no_file_raises_anything_but_a_card_error(edits: list[tuple[int, str, int]]) -> None:
    text = GOOD_TOML
    for position, insert, cut in edits:
        text = text[:position] + insert + text[position + cut :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.toml"
        path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        with contextlib.suppress(CardError):
            card_from_dict(read_toml(path), str(path))


def test_a_card_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "card.toml"
    broken.write_text('name = "a"\nclasses = ]\n')
    with pytest.raises(CardError, match=r"card\.toml: is not valid TOML: .*line 2"):
        read_toml(broken)
    broken.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(CardError, match=r"card\.toml: cannot be read"):
        read_toml(broken)
    with pytest.raises(CardError, match=r"missing\.toml: no such card"):
        read_toml(tmp_path / "missing.toml")
    broken.write_text("#" * (MAX_CARD_BYTES + 1))
    with pytest.raises(CardError, match="is larger than 256 KiB"):
        read_toml(broken)


def test_nesting_deeper_than_python_goes_is_bad_toml(tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text("name = " + "[" * 50_000)
    with pytest.raises(CardError, match="not valid TOML"):
        read_toml(card)
