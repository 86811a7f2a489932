"""Outlines of COCO's annotations, checked before native code reads them.

pycocotools checks nothing: a coordinate of 1e308 is a segmentation fault, NaN takes 9 GB, and run lengths longer than the picture
write beyond its memory.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engines.datasets.folder import Outline
from engines.errors import DataError
from engines.pictures.reading import MAX_PIXELS
from engines.types import Size

FARTHEST = 1.0
"""A point may lie this far outside of its image, in widths and heights."""

LONGEST_PX = 2_000_000
"""Of all outlines of an object together, along their sides: pycocotools takes 80 bytes for each pixel."""

FEWEST_NUMBERS = 6


def checked_outline(segmentation: Any, size: Size) -> tuple[Outline, str]:
    """The outline for an image of `size`, and what was wrong with a part that was left out, or "".

    Raises DataError, whose text goes on after "annotation 7 ", where nothing of it can be used.
    """
    if isinstance(segmentation, Mapping):
        return _run_lengths(segmentation, size), ""
    if not isinstance(segmentation, list):
        raise DataError(f"has {_short(segmentation)} for its segmentation")
    if not segmentation:
        raise DataError("has no segmentation, only a box")
    if not any(isinstance(part, list) for part in segmentation):
        raise DataError("has a segmentation that is one list instead of a list of polygons")
    polygons: list[list[float]] = []
    wrong = ""
    for part in segmentation:
        try:
            polygons.append(_polygon(part, size))
        except DataError as error:
            wrong = wrong or error.what
    if not polygons:
        raise DataError(wrong)
    if sum(map(_length_px, polygons)) > LONGEST_PX:
        raise DataError(f"has outlines of more than {LONGEST_PX} pixels in length")
    return polygons, wrong


def _polygon(part: Any, size: Size) -> list[float]:
    if not isinstance(part, list):
        raise DataError(f"has {_short(part)} for a polygon")
    if len(part) < FEWEST_NUMBERS or len(part) % 2:
        raise DataError(f"has a polygon of {len(part)} numbers; an outline is at least three points x, y")
    for index, value in enumerate(part):
        side_px = size.height if index % 2 else size.width
        if not _is_number(value) or not -FARTHEST * side_px <= value <= (1 + FARTHEST) * side_px:
            raise DataError(f"has the coordinate {_short(value)} in an image of {size}")
    return [float(value) for value in part]


def _length_px(polygon: Sequence[float]) -> float:
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    ends = zip(points, [*points[1:], points[0]], strict=True)
    return sum(max(abs(x1 - x0), abs(y1 - y0)) + 1 for (x0, y0), (x1, y1) in ends)


def _run_lengths(rle: Mapping[str, Any], size: Size) -> Outline:
    """As plain counts, whatever form they had."""
    declared, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(declared, list) and len(declared) == 2 and all(_is_count(side) for side in declared)):
        raise DataError(f"has run lengths for {_short(declared)} instead of [height, width]")
    if declared != [size.height, size.width]:
        raise DataError(f"has run lengths for {declared[1]}x{declared[0]} pixels, but its image is {size}")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not (isinstance(counts, list) and all(_is_count(count) for count in counts)):
        raise DataError("has run lengths that are not counts of pixels")
    if sum(counts) != size.width * size.height:
        raise DataError(f"has run lengths of {sum(counts)} pixels instead of {size.width * size.height}")
    return {"size": declared, "counts": counts}


def _unpacked(text: str) -> list[int]:
    """COCO's compressed run lengths: signed numbers of 5 bits a character, each from the fourth on less the last but one.

    Source: `rleFrString` of COCO's maskApi.c. Raises DataError.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise DataError("has compressed run lengths that are damaged")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise DataError("has compressed run lengths that are cut off")
    return counts


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PIXELS


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
