"""Class names of models mapped to a set's: as given, by the set's means, by equal names and synonyms, to the background."""

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
    lines = mapping.described(CAMVID.classes)
    assert "bicyclist = rider, bicycle (known name)" in lines
    assert "car = car, truck, bus (equal name, known name)" in lines
    assert not any(line.startswith("sky") for line in lines), "equal names are not listed"


def test_a_set_s_means_apply_to_synonyms_too() -> None:
    mapping = map_classes(IDD, CITYSCAPES)
    found = named(mapping, IDD, CITYSCAPES)
    assert {name: found[name] for name in ("road", "person", "rider", "car", "truck", "traffic light", "sky")} == {
        "road": "drivable", "person": "living", "rider": "living", "car": "vehicle", "truck": "vehicle",
        "traffic light": "roadside", "sky": "sky",
    }  # fmt: skip
    assert found["motorcycle"] == "vehicle", "by the set's own name, which no word of means covers"
    assert "drivable = road (by the set's means)" in mapping.described(IDD.classes)


def test_the_nearest_kind_wins() -> None:
    """A bus is a car only where the set has no buses; a rider is a person where it has no riders."""
    fine = SetSettings("fine", ("car", "bus", "person"))
    assert named(map_classes(fine, ("coach", "lorry", "rider")), fine, ("coach", "lorry", "rider")) == {
        "coach": "bus", "lorry": "car", "rider": "person",
    }  # fmt: skip


def test_the_user_s_mapping_takes_precedence() -> None:
    given = parse_means("pedestrian=person,rider; fence=wall")
    mapping = map_classes(CAMVID, CITYSCAPES, given=given)
    found = named(mapping, CAMVID, CITYSCAPES)
    assert (found["person"], found["rider"], found["wall"]) == ("pedestrian", "pedestrian", "fence")
    assert "fence" not in found, "the given names replace those that would be found"
    assert "pedestrian = person, rider (as given)" in mapping.described(CAMVID.classes)


def test_classes_that_the_set_does_not_have_are_its_background() -> None:
    mapping = map_classes(PEOPLE, COCO_CLASSES)
    assert mapping.unnamed == 0
    assert mapping.set_of[COCO_CLASSES.index("person")] == 1
    assert (mapping.set_of[1:80] == 0).all()
    assert mapping.set_of[VOID_CLASS] == 0
    assert all(mapping.is_known)


def test_a_model_s_void_is_not_a_class_of_the_set() -> None:
    settings = SetSettings("rooms", ("person", "void"))
    mapping = map_classes(settings, ("person", "void"), void=("void",))
    assert mapping.set_of[:2].tolist() == [0, VOID_CLASS]
    assert mapping.is_known == (True, False)


def test_an_empty_means_leaves_a_class_out() -> None:
    settings = SetSettings("set", ("car", "wall"), means={"wall": ()})
    mapping = map_classes(settings, ("car", "wall"))
    assert (mapping.is_void, mapping.is_known) == ((False, True), (True, False))
    assert mapping.set_of[1] == VOID_CLASS
    assert "wall: left out by the set's means" in mapping.described(settings.classes)


def test_spelling_of_names_does_not_matter() -> None:
    settings = SetSettings("set", ("Traffic_Light", "TREE"))
    assert map_classes(settings, ("traffic-light", "tree")).set_of[:2].tolist() == [0, 1]


def test_classes_unknown_to_the_model_are_listed_in_one_line() -> None:
    mapping = map_classes(CAMVID, ("background", "person"), void=("background",))
    assert mapping.is_known == tuple(name == "pedestrian" for name in CAMVID.classes)
    assert mapping.described(CAMVID.classes)[-1].endswith("bicyclist: not known to the model")


def test_nothing_in_common_is_an_error_with_the_cure() -> None:
    with pytest.raises(EvaluationError, match=r"nothing in common\. Map them: --means 'membrane=cat'"):
        map_classes(SetSettings("cells", ("cell", "membrane")), ("cat", "dog"))
    with pytest.raises(EvaluationError, match="nothing in common"):
        map_classes(SetSettings("cells", ("background", "membrane")), ("background", "dog"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pedestrain=person", 'the set has no class "pedestrain". Did you mean "pedestrian"?'),
        ("pedestrian=persn", 'the model has no class "persn". Did you mean "person"?'),
        ("pedestrian", "Write SET CLASS=MODEL CLASS"),
        ("pedestrian=", "Write SET CLASS=MODEL CLASS"),
    ],
)
def test_a_wrong_mapping_is_an_error(text: str, words: str) -> None:
    with pytest.raises(EvaluationError) as error:
        map_classes(CAMVID, CITYSCAPES, given=parse_means(text))
    assert words in str(error.value)


def test_eighty_unnamed_classes_are_cocos_only_for_a_set_of_cocos_and_that_is_reported() -> None:
    unnamed = [f"class {number}" for number in range(80)]
    mapping = map_classes(SetSettings("rooms", ("background", "car", "person")), unnamed)
    assert mapping.set_of[0] == 2
    assert "person = class 0 (by COCO's order, as the model names none of its 80 classes)" in mapping.described(
        ("background", "car", "person")
    )
    with pytest.raises(EvaluationError, match="nothing in common"):
        map_classes(SetSettings("field", ("crop", "person")), unnamed)
    with pytest.raises(EvaluationError, match="nothing in common"):
        map_classes(SetSettings("rooms", ("person",)), unnamed[:79])


def test_a_void_class_that_is_given_is_what_pixels_without_a_class_are() -> None:
    land = SetSettings("land", ("soil", "crop"))
    mapping = map_classes(land, ("background", "crop"), void=("background",), given={"soil": ("background",)})
    assert (mapping.nothing, mapping.unnamed) == (0, VOID_CLASS)
    assert map_classes(land, ("background", "crop"), void=("background",)).nothing == VOID_CLASS
