"""Other people's class names onto a set's: what the user says, what the set says, equal names, known names, background."""

from __future__ import annotations

import pytest

from engines.datasets.settings import SetSettings
from engines.errors import EvaluationError
from engines.evaluation.mapping import ClassMapping, map_classes, parse_means
from engines.models.coco import COCO_CLASSES
from engines.types import VOID_CLASS

CAMVID = SetSettings(
    "camvid", ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
)
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
IDD = SetSettings(
    "idd",
    ("drivable", "living", "vehicle", "roadside", "sky"),
    means={
        "drivable": ("road",),
        "living": ("pedestrian", "bicyclist"),
        "vehicle": ("car", "bicyclist"),
        "roadside": ("pole", "sign"),
    },
)
PEOPLE = SetSettings("people", ("background", "person"))


def named(mapping: ClassMapping, settings: SetSettings, model_classes: tuple[str, ...]) -> dict[str, str]:
    """Model class → set class, where there is one."""
    ids = mapping.set_of[: len(model_classes)].tolist()
    return {name: settings.classes[index] for name, index in zip(model_classes, ids, strict=True) if index != VOID_CLASS}


def test_cityscapes_on_camvid() -> None:
    mapping = map_classes(CAMVID, CITYSCAPES)
    assert named(mapping, CAMVID, CITYSCAPES) == {
        "road": "road", "sidewalk": "pavement", "building": "building", "fence": "fence", "pole": "pole", "traffic light": "sign",
        "traffic sign": "sign", "vegetation": "tree", "sky": "sky", "person": "pedestrian", "rider": "bicyclist", "car": "car",
        "truck": "car", "bus": "car", "bicycle": "bicyclist",
    }  # fmt: skip
    assert all(mapping.is_known)
    assert mapping.unnamed == VOID_CLASS
    told = mapping.described(CAMVID.classes)
    assert "bicyclist = rider, bicycle (known name)" in told
    assert "car = car, truck, bus (equal name, known name)" in told
    assert not any(line.startswith("sky") for line in told), "what needs no word gets none"


def test_a_set_s_means_are_taken_in_like_words_too() -> None:
    mapping = map_classes(IDD, CITYSCAPES)
    found = named(mapping, IDD, CITYSCAPES)
    assert {name: found[name] for name in ("road", "person", "rider", "car", "truck", "traffic light", "sky")} == {
        "road": "drivable", "person": "living", "rider": "living", "car": "vehicle", "truck": "vehicle",
        "traffic light": "roadside", "sky": "sky",
    }  # fmt: skip
    assert found["motorcycle"] == "vehicle", "by the set's own name, which no word of means covers"
    assert "drivable = road (by the set's means)" in mapping.described(IDD.classes)


def test_the_nearest_kind_wins() -> None:
    """A bus is a car only where nobody knows buses; a rider is a person where nobody knows riders."""
    fine = SetSettings("fine", ("car", "bus", "person"))
    assert named(map_classes(fine, ("coach", "lorry", "rider")), fine, ("coach", "lorry", "rider")) == {
        "coach": "bus", "lorry": "car", "rider": "person",
    }  # fmt: skip


def test_what_people_say_is_stronger_than_all() -> None:
    given = parse_means("pedestrian=person,rider; fence=wall")
    mapping = map_classes(CAMVID, CITYSCAPES, given=given)
    found = named(mapping, CAMVID, CITYSCAPES)
    assert (found["person"], found["rider"], found["wall"]) == ("pedestrian", "pedestrian", "fence")
    assert "fence" not in found, "the given names replace those that would be found"
    assert "pedestrian = person, rider (as given)" in mapping.described(CAMVID.classes)


def test_everything_without_a_name_of_the_set_s_is_its_background() -> None:
    mapping = map_classes(PEOPLE, COCO_CLASSES)
    assert mapping.unnamed == 0
    assert mapping.set_of[COCO_CLASSES.index("person")] == 1
    assert (mapping.set_of[1:80] == 0).all()
    assert mapping.set_of[VOID_CLASS] == 0
    assert all(mapping.is_known)


def test_a_model_s_void_is_no_class_of_the_set_s() -> None:
    settings = SetSettings("rooms", ("person", "void"))
    mapping = map_classes(settings, ("person", "void"), void=("void",))
    assert mapping.set_of[:2].tolist() == [0, VOID_CLASS]
    assert mapping.is_known == (True, False)


def test_an_empty_means_leaves_a_class_out() -> None:
    settings = SetSettings("set", ("car", "wall"), means={"wall": ()})
    mapping = map_classes(settings, ("car", "wall"))
    assert (mapping.is_void, mapping.is_known) == ((False, True), (True, False))
    assert mapping.set_of[1] == VOID_CLASS
    assert "wall: left out, as the set's means says" in mapping.described(settings.classes)


def test_writing_does_not_matter() -> None:
    settings = SetSettings("set", ("Traffic_Light", "TREE"))
    assert map_classes(settings, ("traffic-light", "tree")).set_of[:2].tolist() == [0, 1]


def test_what_a_model_does_not_know_is_told_in_one_line() -> None:
    mapping = map_classes(CAMVID, ("background", "person"), void=("background",))
    assert mapping.is_known == tuple(name == "pedestrian" for name in CAMVID.classes)
    assert mapping.described(CAMVID.classes)[-1].endswith("bicyclist: the model knows nothing of the kind")


def test_nothing_in_common_is_an_error_with_the_cure() -> None:
    with pytest.raises(EvaluationError, match=r"nothing in common; say which is which: --means 'membrane=cat'"):
        map_classes(SetSettings("cells", ("cell", "membrane")), ("cat", "dog"))
    with pytest.raises(EvaluationError, match="nothing in common"):
        map_classes(SetSettings("cells", ("background", "membrane")), ("background", "dog"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pedestrain=person", 'the set has no class "pedestrain"; did you mean "pedestrian"?'),
        ("pedestrian=persn", 'the model has no class "persn"; did you mean "person"?'),
        ("pedestrian", "write SET CLASS=MODEL CLASS"),
        ("pedestrian=", "write SET CLASS=MODEL CLASS"),
    ],
)
def test_a_wrong_word_is_told(text: str, words: str) -> None:
    with pytest.raises(EvaluationError) as error:
        map_classes(CAMVID, CITYSCAPES, given=parse_means(text))
    assert words in str(error.value)
