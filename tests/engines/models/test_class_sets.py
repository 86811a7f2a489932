"""Classes that a card, a recipe or a data set names in a word."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from engines.datasets.settings import open_settings
from engines.errors import CardError, DataError
from engines.models.card import card_from_dict, facts_of_file, read_toml, to_toml
from engines.models.class_sets import class_set, known_words, void_among, word_for
from engines.models.collection.add import add_file
from engines.models.model import load_model
from realtime.commands.common.values import classes, word_or_names
from realtime.render.palette import class_colours

UNIT = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"


def logits(nets, count: int) -> Path:
    path: Path = nets.constant({"logits": np.zeros((1, count, 64, 64), np.float32)}, name=f"of{count}")
    return path


@pytest.mark.parametrize(
    ("word", "count", "first", "last", "colour"),
    [
        ("cityscapes", 19, "road", "bicycle", {"road": "#804080", "car": "#00008e", "train": "#005064"}),
        ("voc", 21, "background", "tvmonitor", {"person": "#c08080", "aeroplane": "#800000", "tvmonitor": "#004080"}),
        (
            "ade20k",
            150,
            "wall",
            "flag",
            {"sky": "#06e6e6", "person": "#96053d", "flag": "#5c00ff", "chest of drawers": "#0633ff"},
        ),
        ("camvid", 11, "sky", "bicyclist", {"sky": "#808080", "bicyclist": "#0080c0"}),
        ("coco", 80, "person", "toothbrush", {}),
        ("coco-91", 91, "unused 0", "toothbrush", {}),
    ],
)
def test_each_word_means_its_published_classes(word: str, count: int, first: str, last: str, colour: dict[str, str]) -> None:
    meant = class_set(word)
    assert meant is not None
    assert word in known_words()
    assert len(meant.names) == len(set(meant.names)) == count
    assert (meant.names[0], meant.names[-1]) == (first, last)
    assert colour.items() <= meant.palette.items()
    assert set(meant.palette) in (set(meant.names), set())
    assert all(re.fullmatch("#[0-9a-f]{6}", shade) for shade in meant.palette.values())
    assert set(meant.things) <= set(meant.names) - set(meant.void)


def test_a_channel_of_no_class_stands_before_or_behind() -> None:
    before, behind = class_set("void+ade20k"), class_set("Cityscapes+void")
    assert before is not None
    assert behind is not None
    assert (before.names[:2], len(before.names), before.void) == (("void", "wall"), 151, ("void",))
    assert (behind.names[-2:], len(behind.names), behind.void) == (("bicycle", "void"), 20, ("void",))
    assert [class_set(word) for word in ("void", "cityscapes+", "voc+ade20k", "void+voc+void", "", "classes")] == [None] * 6


@pytest.mark.parametrize(("count", "word"), [(19, "cityscapes"), (20, "cityscapes+void"), (151, "void+ade20k"), (7, "")])
def test_a_word_is_proposed_by_the_number_of_classes(nets, count: int, word: str) -> None:
    assert word_for(count) == word
    path = logits(nets, count)
    path.with_suffix(".toml").write_text('classes = ["a", "b"]\n' + UNIT)
    with pytest.raises(CardError) as caught:
        load_model(path)
    text = str(caught.value)
    assert f"the network has {count} classes but 2 names are given" in text
    assert (f'or classes = "{word}" if they are those' in text) == bool(word)


def test_a_card_s_word_brings_colours_things_and_void(nets) -> None:
    path = logits(nets, 20)
    path.with_suffix(".toml").write_text('classes = "cityscapes+void"\npalette = {sky = "#000001"}\n' + UNIT)
    card = load_model(path).card
    assert card.classes[13] == "car"
    assert class_colours(card)[13] == (0, 0, 0x8E)
    assert card.palette["sky"] == "#000001", "the card's own colour"
    assert "rider" in card.things
    assert "road" not in card.things
    assert card.void == ("void",)
    path.with_suffix(".toml").write_text('classes = "cityscapes"\n' + UNIT)
    with pytest.raises(CardError, match=r'the network has 20 classes but 19 names are given .* classes = "cityscapes\+void"'):
        load_model(path)


def test_a_class_called_background_is_void_unless_the_card_says_otherwise(nets, tmp_path: Path) -> None:
    assert void_among(["sky", "Background", "__background__", "unlabelled", "ignore"]) == [
        "Background", "__background__", "unlabelled", "ignore",
    ]  # fmt: skip
    assert void_among(["background"]) == [], "or there would be no class"
    path = logits(nets, 3)
    names = 'classes = ["background", "cell", "nucleus"]\n'
    for more, void in (
        ("", ("background",)),
        ("void = []\n", ()),
        ('things = ["background"]\n', ()),
        ('void = ["cell"]\n', ("cell",)),
    ):
        path.with_suffix(".toml").write_text(names + more + UNIT)
        card = load_model(path).card
        assert card.void == void, more
        written = tmp_path / "card.toml"
        written.write_text(to_toml(facts_of_file(card, path)))
        assert card_from_dict(read_toml(written), "again").void == void, "as it was, when it is read again"


def test_a_detector_s_background_is_no_object(nets) -> None:
    arrays = {"output0": np.zeros((1, 7, 84), np.float32)}
    path = nets.constant(arrays, metadata={"task": "detect", "names": "['background', 'cat', 'dog']"})
    card = load_model(path).card
    assert (card.void, card.things) == (("background",), ("cat", "dog"))


def test_keys_take_the_place_of_the_card_s(nets, tmp_path: Path) -> None:
    path = logits(nets, 19)
    path.with_suffix(".toml").write_text(UNIT)
    model = add_file(path, "street", tmp_path, keys={"classes": "cityscapes"})
    assert model.card.classes[0] == "road"
    assert model.card.palette["road"] == "#804080"
    assert not model.lacks_names
    card = tmp_path / "other.toml"
    card.write_text(UNIT)
    (tmp_path / "again").mkdir()
    assert add_file(path, "street", tmp_path / "again", card, {"classes": "cityscapes"}).card.things[0] == "person"


def test_a_data_set_s_classes_may_be_a_word(tmp_path: Path) -> None:
    file = tmp_path / "dataset.toml"
    file.write_text('classes = "camvid"\n')
    assert open_settings(tmp_path)[1].classes[8] == "car"
    file.write_text('classes = "camvit"\n')
    with pytest.raises(DataError, match=r'classes = "camvit" is no set of classes\. Write a list of names, or "camvid"'):
        open_settings(tmp_path)
    file.write_text('classes = "mine"\n')
    with pytest.raises(DataError, match="or one of: cityscapes, coco, coco-91, voc, ade20k, camvid"):
        open_settings(tmp_path)


def test_an_option_takes_names_or_a_word() -> None:
    assert classes("camvid")[:2] == ("sky", "building")
    assert classes("a, b") == word_or_names("a, b") == ("a", "b")
    assert word_or_names("void+coco") == "void+coco"
