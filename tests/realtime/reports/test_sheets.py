"""Sheets and charts, pixel by pixel where it matters."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.commands.common.tables import bar, percent, table
from realtime.render.palette import named_colours
from realtime.reports.sheets import TILE_WIDTH_PX, Legend, Row, blend, confusion_chart, sheet

LEGEND = Legend(("sky", "road"), ((0, 0, 255), (255, 0, 0)))


def test_classes_are_blended_in_their_colours_and_void_is_not() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    label = np.zeros((40, 60), np.uint8)
    label[:, 20:40], label[:, 40:] = 1, 255
    before = image.copy()
    blended = blend(image, label, LEGEND)
    assert blended[10, 10].tolist() == [193, 40, 40], "BGR: four tenths of the image and six of blue"
    assert blended[10, 30].tolist() == [40, 40, 193]
    assert len(np.unique(blended[:, 42:].reshape(-1, 3), axis=0)) == 2, "stripes"
    assert blended[10, 20].tolist() == [20, 20, 96], "an edge is dark"
    np.testing.assert_array_equal(image, before)
    assert blend(image, label, LEGEND, void_is_plain=True)[10, 50].tolist() == [100, 100, 100]


def test_a_coarser_map_is_blended_as_well() -> None:
    assert blend(np.zeros((40, 60, 3), np.uint8), np.zeros((4, 6), np.uint8), LEGEND).shape == (40, 60, 3)


@pytest.mark.parametrize(("count", "tiles"), [(1, 2), (7, 2), (12, 3)])
@pytest.mark.parametrize("size", [(240, 320), (480, 200), (10, 400)])
def test_everything_fits_on_a_sheet_no_wider_than_a_screen(count: int, tiles: int, size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 200, np.uint8)
    rows = [
        Row(f"a title that is longer than the tiles under it are wide, number {i} " * 3, (picture,) * tiles) for i in range(count)
    ]
    made = sheet("heading", rows, LEGEND, shown=[0, 1], with_void=True)
    assert tiles * TILE_WIDTH_PX < made.shape[1] <= 2016
    shown = (made == 200).all(axis=2).sum()
    assert shown > 0.9 * count * tiles * min(320 * 320 * size[0] / size[1], 420 * 420 * size[1] / size[0])


def test_the_chart_leaves_out_what_never_occurs() -> None:
    counts = np.zeros((40, 41), np.int64)
    counts[0, 0], counts[0, 1], counts[1, -1] = 90, 10, 5
    names = [f"class {i}" for i in range(40)]
    small = confusion_chart(counts, names, "model on set")
    counts[np.arange(40), np.arange(40)] = 1
    large = confusion_chart(counts, names, "model on set")
    assert small.dtype == np.uint8
    assert small.shape[1] < large.shape[1]
    assert small.std() > 10


def test_named_colours_are_the_palette_s_or_the_default_ones() -> None:
    assert named_colours(("a", "b"), {"b": "#010203"}) == (named_colours(("a",))[0], (1, 2, 3))


def test_tables_line_up() -> None:
    assert table(("class", "IoU"), [("sky", "9.5"), ("building", "100.0")], "lr") == [
        "class       IoU",
        "sky         9.5",
        "building  100.0",
    ]


@pytest.mark.parametrize(
    ("share", "text"), [(0, ""), (1, "████"), (0.5, "██"), (0.5 + 1 / 32, "██▏"), (2, "████"), (float("nan"), "")]
)
def test_bars_are_as_long_as_their_share(share: float, text: str) -> None:
    assert bar(share, 4) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0.0 %"), (0.0001, "<0.1 %"), (0.123, "12.3 %"), (float("nan"), "-")])
def test_per_cent(share: float, text: str) -> None:
    assert percent(share) == text
