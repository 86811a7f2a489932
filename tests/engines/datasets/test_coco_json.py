"""Odd annotations of a COCO file are left out and reported, and nothing hostile reaches native code."""

from __future__ import annotations

import json
import math
import re
import resource
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.datasets.coco_json import read_coco_file
from engines.datasets.coco_outline import checked_outline
from engines.datasets.truth import open_truth
from engines.errors import DataError
from engines.evaluation.objects import ObjectScorer
from engines.types import Size

SIZE = Size(80, 40)
GOOD = [10, 10, 40, 10, 40, 30, 10, 30]
PIXELS = SIZE.width * SIZE.height


def coco(folder: Path, odd: list[dict[str, Any]], **changed: Any) -> Path:
    """A file of two images of 80x40 pixels and of two categories; the first annotation is a good one."""
    for name in "ab":
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((SIZE.height, SIZE.width, 3), np.uint8))
    facts = {
        "images": [
            {"id": number, "file_name": f"{name}.png", "width": 80, "height": 40} for number, name in ((7, "a"), (8, "b"))
        ],
        "categories": [{"id": 1, "name": "crack"}, {"id": 2, "name": "pothole"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 2, "segmentation": [GOOD]}, *odd],
    } | changed
    path = folder / "instances_val.json"
    path.write_text(json.dumps(facts))
    return path


def entry(segmentation: Any, **changed: Any) -> dict[str, Any]:
    return {"id": 42, "image_id": 8, "category_id": 2, "segmentation": segmentation, "bbox": [1, 2, 3, 4], "iscrowd": 0} | changed


def rle(counts: Any, size: Any = (SIZE.height, SIZE.width)) -> dict[str, Any]:
    return {"size": list(size), "counts": counts}


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "box only": (entry([]), "has no segmentation, only a box"),
    "none": (entry(None), "has no segmentation"),
    "two points": (entry([[10, 10, 20, 20]]), "has a polygon of 4 numbers"),
    "odd count": (entry([[*GOOD, 3]]), "has a polygon of 9 numbers"),
    "flat": (entry(GOOD), "is one list instead of a list of polygons"),
    "1e308": (entry([[10, 10, 1e308, 10, 40, 30]]), r"has the coordinate 1e\+308 in an image of 80x40"),
    "-1e308": (entry([[10, 10, -1e308, 10, 40, 30]]), "has the coordinate"),
    "nan": (entry([[10, math.nan, 40, 10, 40, 30]]), "has the coordinate nan"),
    "inf": (entry([[math.inf, 10, 40, 10, 40, 30]]), "has the coordinate inf"),
    "huge whole number": (entry([[10**300, 10, 40, 10, 40, 30]]), "has the coordinate 1000"),
    "beyond": (entry([[10, 10, 400, 10, 40, 30]]), "has the coordinate 400"),
    "text": (entry([["10", "10", "40", "10", "40", "30"]]), "has the coordinate '10'"),
    "true": (entry([[True, 10, 40, 10, 40, 30]]), "has the coordinate True"),
    "null": (entry([[None, 10, 40, 10, 40, 30]]), "has the coordinate None"),
    "nested": (entry([[[10, 10], [40, 10], [40, 30]]]), "has a polygon of 3 numbers"),
    "word": (entry("polygon"), "has 'polygon' for its segmentation"),
    "longest": (entry([[0, 0, 160, 80] * 20_000]), "has outlines of more than"),
    "counts too short": (entry(rle([5])), "has run lengths of 5 pixels instead of 3200"),
    "counts too long": (entry(rle([PIXELS, 10**7])), "has run lengths of"),
    "negative counts": (entry(rle([PIXELS + 5, -5])), "not counts"),
    "counts of text": (entry(rle(["3200"])), "not counts"),
    "counts as a number": (entry(rle(3200)), "not counts"),
    "no counts": (entry({"size": [40, 80]}), "not counts"),
    "other size": (entry(rle([3200], (80, 40))), "has run lengths for 40x80 pixels, but its image is 80x40"),
    "huge size": (entry(rle([1 << 40], (1 << 20, 1 << 20))), "has run lengths for 1048576x1048576 pixels"),
    "size of floats": (entry(rle([3200], (40.0, 80.0))), "instead of .height, width."),
    "compressed, beyond": (entry(rle("ggggggg1")), "has (compressed )?run lengths"),
    "compressed, cut off": (entry(rle("gg")), "has compressed run lengths that are cut off"),
    "compressed, damaged": (entry(rle("\u20ac")), "has compressed run lengths that are damaged"),
    "absent image": (entry([GOOD], image_id=99), "is of the image 99, which is not listed"),
    "absent category": (entry([GOOD], category_id=3), "is of the category 3, which is not listed"),
    "no category": (entry([GOOD], category_id=None), "is of the category None"),
    "image true": (entry([GOOD], image_id=True), "is of the image True"),
    "odd iscrowd": (entry([GOOD], iscrowd="0"), "has 0 for iscrowd"),
}


@pytest.mark.parametrize(("odd", "words"), ODD.values(), ids=ODD)
def test_the_odd_one_is_reported_with_its_file_and_number_and_the_others_count(
    tmp_path: Path, odd: dict[str, Any], words: str
) -> None:
    truths = open_truth(coco(tmp_path, [odd, entry([GOOD], id=43)]))
    read = [truths.read(name) for name in truths.names]
    assert [len(truth.objects or ()) for truth in read] == [1, 1]
    (line,) = truths.left_out
    assert line.startswith(f"{tmp_path / 'instances_val.json'}: annotation 42 ")
    assert re.search(words, line)


def test_a_bad_part_of_a_polygon_does_not_take_the_rest_with_it(tmp_path: Path) -> None:
    truths = open_truth(coco(tmp_path, [entry([GOOD, [1, 1, 2, 2]])]))
    for _ in range(2):
        assert [item.outline for item in truths.read("b").objects or ()] == [[GOOD]]
    assert len(truths.left_out) == 1, "said once, however often it is read"


def test_where_nothing_can_be_used_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="annotation 1 has no segmentation, only a box; none of its 1 annotations can be used"):
        read_coco_file(coco(tmp_path, [], annotations=[entry([], id=1)]))


def test_ids_are_numbers_however_they_are_written(tmp_path: Path) -> None:
    categories = [{"id": str(number), "name": f"n{number}"} for number in sorted(range(1, 13), key=str)]
    images = [{"id": "7", "file_name": "a.png"}, {"id": 8.0, "file_name": "b.png", "width": None}]
    annotations = [entry([GOOD], image_id=7, category_id=11), entry([GOOD], image_id="8", category_id="2")]
    file = read_coco_file(coco(tmp_path, [], images=images, categories=categories, annotations=annotations))
    assert file.classes == tuple(f"n{number}" for number in range(1, 13))
    assert [item.class_id for name in "ab" for item in file.objects_of(name, SIZE)] == [10, 1]
    words = [{"id": word, "name": word} for word in ("zebra", "ant")]
    file = read_coco_file(coco(tmp_path, [], categories=words, annotations=[entry([GOOD], category_id="ant")]))
    assert file.classes == ("zebra", "ant"), "ids that are words keep their order"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"categories": [{"id": 1, "name": "a"}, {"id": "1", "name": "b"}]}, "the category 1 is listed twice, as a and as b"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, 'two categories are called "a"'),
        ({"categories": [{"id": 1, "name": 5}]}, "a category has no id or no name"),
        ({"categories": [{"id": math.nan, "name": "a"}]}, "a category has no id"),
        ({"images": [{"id": 7, "file_name": "a.png"}, {"id": "7", "file_name": "b.png"}]}, "the image 7 is listed twice"),
        ({"images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "a.png"}]}, r"two images are called a\.png"),
        ({"images": [{"id": 7, "file_name": ["a.png"]}]}, "an entry has no 'file_name'"),
        ({"images": [{"id": 7, "file_name": "x" * 9999}]}, "was not found"),
        ({"images": [{"id": 7, "file_name": "a\0.png"}]}, "was not found"),
        ({"images": ["a.png"]}, "images has an entry that is not a table"),
        ({"annotations": {}}, "not in COCO's format"),
    ],
)
def test_what_would_mix_up_images_or_classes_is_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_coco_file(coco(tmp_path, [], **changed))


@pytest.mark.parametrize("name", ["sub/a.png", "sub\\a.png", "https://host/pictures/a.png?token=1", "/absent/a.png"])
def test_images_are_found_by_folders_addresses_and_paths_of_windows(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    cv2.imwrite(str(tmp_path / "sub" / "a.png"), np.zeros((40, 80, 3), np.uint8))
    path = coco(tmp_path, [], images=[{"id": 7, "file_name": name}])
    assert [len(open_truth(path).read(key).objects or ()) for key in open_truth(path).names] == [1]


def test_images_that_differ_only_in_their_suffix_are_two(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "a.jpg"}]
    (tmp_path / "a.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((40, 80, 3), np.uint8))[1].tobytes())
    truths = open_truth(coco(tmp_path, [entry([GOOD]), entry([[20, 20, 50, 20, 50, 38]], id=43)], images=images))
    assert [len(truths.read(name).objects or ()) for name in truths.names] == [1, 2]


def test_outlines_for_another_size_are_refused(tmp_path: Path) -> None:
    path = coco(tmp_path, [], images=[{"id": 7, "file_name": "a.png", "width": 40, "height": 80}])
    with pytest.raises(DataError, match=r"a\.png is 80x40, but 40x80 here: its outlines do not fit"):
        open_truth(path).read("a")


def test_compressed_run_lengths_are_those_of_coco() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    generator = np.random.default_rng(3)
    for density in (0.0, 0.02, 0.5, 1.0):
        picture = np.asfortranarray(generator.random((SIZE.height, SIZE.width)) < density, np.uint8)
        packed = mask.encode(picture)
        outline, wrong = checked_outline({"size": list(packed["size"]), "counts": packed["counts"].decode()}, SIZE)
        assert isinstance(outline, dict)
        assert wrong == ""
        again = mask.frPyObjects(outline, *packed["size"])
        assert again["counts"] == packed["counts"]


NUMBERS = st.one_of(st.floats(), st.integers(), st.floats(-90, 170), st.booleans(), st.text(max_size=3), st.none())
SHAPES = st.recursive(
    NUMBERS | st.binary(max_size=12).map(lambda data: data.decode("latin-1")),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=24,
)
COUNTS = st.lists(st.integers(-3, PIXELS), max_size=6) | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)


@settings(max_examples=120, deadline=None)
@given(st.one_of(SHAPES, st.lists(st.lists(NUMBERS, min_size=4, max_size=12), max_size=3), st.builds(rle, COUNTS)))
def test_whatever_passes_is_safe_in_native_code(segmentation: Any) -> None:
    pytest.importorskip("pycocotools")
    from engines.datasets.folder import TrueObject

    try:
        outline, _ = checked_outline(segmentation, SIZE)
    except DataError:
        return
    scorer = ObjectScorer(1, 0.5)
    scorer.add_image(SIZE, [TrueObject(0, outline)])
    assert scorer.review(SIZE).truth.shape == (40, 80)


def test_the_longest_outline_takes_no_gigabytes() -> None:
    pytest.importorskip("pycocotools")
    from engines.datasets.folder import TrueObject

    large = Size(8192, 6144)
    outline, _ = checked_outline([[0, 0, 8192, 6144] * 120], large)
    before, started_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    ObjectScorer(1, 0.5).add_image(large, [TrueObject(0, outline)])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024
    assert time.monotonic() - started_s < 10


def test_an_annotation_that_is_listed_twice_counts_once_and_another_of_its_id_counts(tmp_path: Path) -> None:
    other = [[20, 20, 50, 20, 50, 38]]
    truths = open_truth(coco(tmp_path, [entry([GOOD]), entry([GOOD]), entry(other), entry(other, image_id=7)]))
    assert [len(truths.read(name).objects or ()) for name in truths.names] == [2, 2]
    assert truths.left_out == [f"{tmp_path / 'instances_val.json'}: annotation 42 is the same as annotation 42"]


def test_the_file_among_the_held_out_images_is_found(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
        coco(tmp_path / part, []).rename(tmp_path / part / "_annotations.coco.json")
    assert open_truth(tmp_path).described == "all 2 images of _annotations.coco.json"


def test_more_classes_than_ids_are_refused(tmp_path: Path) -> None:
    categories = [{"id": number, "name": f"n{number}"} for number in range(1, 257)]
    with pytest.raises(DataError, match="has 256 classes, but at most 255 have an id of 8 bits"):
        open_truth(coco(tmp_path, [], categories=categories))


def test_a_file_without_annotations_is_no_truth(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"instances_val\.json: has no annotation, so there is no object to find"):
        read_coco_file(coco(tmp_path, [], annotations=[]))
