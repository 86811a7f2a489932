"""Contact sheets of labelled images, and charts. Pure: arrays in, a picture out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from engines.errors import EvaluationError
from engines.types import I64, U8, VOID_CLASS, Image
from realtime.render.palette import Rgb, bgr_table
from realtime.render.text import label

PAPER_BGR = (28, 26, 26)
TILE_WIDTH_PX = 320
TILE_HEIGHTS_PX = (150, 420)
MARGIN_PX, GAP_PX = 16, 6
TITLE_PX, LEGEND_PX, HEADING_PX = 14, 16, 20
SHEET_WIDTH_PX = 2016
"""Maximum: three pairs of tiles."""

OPACITY = 0.6
HATCH_PX = 5
"""Half the period of the stripes over void."""

DPI = 110
NUMBERS_UP_TO = 32
"""Classes on a chart; with more, the cells are too small for numbers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image on a sheet: its title, and its tiles from left to right, all (h, w, 3) uint8 BGR of one size."""

    title: str
    tiles: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Legend:
    """Class names and their colours, by id."""

    names: tuple[str, ...]
    colours: tuple[Rgb, ...]


def blend(image: Image, label_map: U8, legend: Legend, *, void_is_plain: bool = False) -> Image:
    """`image` under the colours of an (H, W) uint8 class map of any size; void is striped, or left as it is."""
    height, width = image.shape[:2]
    if label_map.shape != (height, width):
        label_map = np.asarray(cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    table = np.full((256, 3), 255, np.uint8)  # an id without a name is white
    table[: len(legend.colours)] = bgr_table(legend.colours)[:256]
    blended = np.asarray(cv2.addWeighted(image, 1 - OPACITY, table[label_map], OPACITY, 0), np.uint8)
    void = label_map == VOID_CLASS
    blended[void] = image[void] if void_is_plain else _hatched(image)[void]
    edge = np.zeros((height, width), bool)
    edge[:, 1:] = label_map[:, 1:] != label_map[:, :-1]
    edge[1:] |= label_map[1:] != label_map[:-1]
    blended[edge] = blended[edge] // 2
    return blended


def sheet(heading: str, rows: Sequence[Row], legend: Legend, *, shown: Sequence[int], with_void: bool) -> Image:
    """Rows in columns up to a screen's width, under a heading, above a legend. shown: class ids in the legend."""
    assert rows, "a sheet has at least one row"
    height_px = _tile_height([row.tiles[0] for row in rows])
    blocks = [_block(row, height_px) for row in rows]
    block_height, block_width = blocks[0].shape[:2]
    columns = max(1, min(len(blocks), (SHEET_WIDTH_PX - MARGIN_PX) // (block_width + MARGIN_PX)))
    line_count = -(-len(blocks) // columns)
    width = MARGIN_PX + columns * (block_width + MARGIN_PX)
    head = label(heading, HEADING_PX, PAPER_BGR)
    patches = _legend_patches(legend, shown, with_void)
    foot = _flow(patches, width - 2 * MARGIN_PX)
    top = MARGIN_PX + head.shape[0] + GAP_PX
    bottom = top + line_count * (block_height + MARGIN_PX)
    paper = np.full((bottom + foot.shape[0] + MARGIN_PX, width, 3), PAPER_BGR, np.uint8)
    paste(paper, head, MARGIN_PX, MARGIN_PX)
    for index, block in enumerate(blocks):
        row, column = divmod(index, columns)
        paste(paper, block, MARGIN_PX + column * (block_width + MARGIN_PX), top + row * (block_height + MARGIN_PX))
    paste(paper, foot, MARGIN_PX, bottom)
    return paper


def _tile_height(images: Sequence[Image]) -> int:
    aspect = float(np.median([image.shape[0] / image.shape[1] for image in images]))
    return round(min(max(aspect * TILE_WIDTH_PX, TILE_HEIGHTS_PX[0]), TILE_HEIGHTS_PX[1]))


def _block(row: Row, height_px: int) -> Image:
    """The row's title over its tiles."""
    width = len(row.tiles) * (TILE_WIDTH_PX + GAP_PX) - GAP_PX
    title = label(row.title, TITLE_PX, PAPER_BGR)
    block = np.full((title.shape[0] + height_px, width, 3), PAPER_BGR, np.uint8)
    paste(block, title, 0, 0)
    for index, tile in enumerate(row.tiles):
        height, tile_width = tile.shape[:2]
        scale = min(TILE_WIDTH_PX / tile_width, height_px / height)
        size = (max(1, round(tile_width * scale)), max(1, round(height * scale)))
        fitted = np.asarray(cv2.resize(tile, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8)
        x = index * (TILE_WIDTH_PX + GAP_PX) + (TILE_WIDTH_PX - size[0]) // 2
        paste(block, fitted, x, title.shape[0] + (height_px - size[1]) // 2)
    return block


def _legend_patches(legend: Legend, shown: Sequence[int], with_void: bool) -> list[Image]:
    colours_bgr = {class_id: legend.colours[class_id][::-1] for class_id in shown}
    patches = [label(legend.names[class_id], LEGEND_PX, (b, g, r)) for class_id, (b, g, r) in colours_bgr.items()]
    if with_void:
        plain = label("void", LEGEND_PX, (110, 110, 110))
        is_ink = plain.max(axis=2) != 110
        striped = _hatched(np.full_like(plain, 110))
        striped[is_ink] = plain[is_ink]
        patches.append(striped)
    return patches


def patches_in_lines(entries: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> Image:
    """Names on their colours (BGR), in as many lines as fit `width`; wider where a name alone is."""
    patches = [label(name, LEGEND_PX, colour) for name, colour in entries]
    inner = max([width - 2 * GAP_PX, *(patch.shape[1] for patch in patches)])
    flow = _flow(patches, inner)
    paper = np.full((flow.shape[0] + GAP_PX, inner + 2 * GAP_PX, 3), PAPER_BGR, np.uint8)
    paste(paper, flow, GAP_PX, GAP_PX)
    return paper


def _flow(patches: Sequence[Image], width: int) -> Image:
    """Patches from left to right, in as many lines as needed."""
    height = max((patch.shape[0] for patch in patches), default=0) + GAP_PX
    places: list[tuple[int, int]] = []
    x = y = 0
    for patch in patches:
        if x and x + patch.shape[1] > width:
            x, y = 0, y + height
        places.append((x, y))
        x += patch.shape[1] + GAP_PX
    paper = np.full((y + height, width, 3), PAPER_BGR, np.uint8)
    for patch, place in zip(patches, places, strict=True):
        paste(paper, patch, *place)
    return paper


def _hatched(image: Image) -> Image:
    """`image` darkened, under light diagonal stripes."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    stripe = ((rows + columns) // HATCH_PX) % 2 == 1
    dark = image // 3
    dark[stripe] += 60
    return dark


def paste(paper: Image, patch: Image, x: int, y: int) -> int:
    """Copy `patch` onto `paper`, cut off at the right edge and below. Returns the width that was copied."""
    height: int = min(patch.shape[0], paper.shape[0] - y)
    width: int = max(0, min(patch.shape[1], paper.shape[1] - x))
    paper[y : y + height, x : x + width] = patch[:height, :width]
    return width


def check_charts() -> None:
    """Raises EvaluationError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        what = "matplotlib, which draws charts, is not installed"
        raise EvaluationError(what, "Install it: pip install -e '.[evaluate]'") from error


def confusion_chart(counts: I64, names: Sequence[str], title: str) -> Image:
    """A confusion matrix in per cent of each true class's pixels, without classes that do not occur.

    By matplotlib's Figure without pyplot, which keeps state and needs a screen.
    counts: (classes, classes + 1) int64, row = truth, the last column "none". Returns (H, W, 3) uint8 BGR.
    """
    present = np.flatnonzero((counts.sum(axis=1) > 0) | (counts[:, : len(names)].sum(axis=0) > 0))
    shown = [names[index] for index in present.tolist()]
    has_none = bool(counts[:, -1].any())
    columns = np.concatenate((present, [len(names)])) if has_none else present
    part = counts[np.ix_(present, columns)].astype(np.float64)
    totals = counts[present].sum(axis=1, keepdims=True)
    shares = 100 * np.divide(part, totals, out=np.zeros_like(part), where=totals > 0)
    check_charts()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size_in = (max(5.0, 0.52 * len(columns) + 2.4), max(4.0, 0.42 * len(present) + 2.2))
    figure: Any = Figure(figsize=size_in, dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(columns)), [*shown, *(["none of them"] * has_none)], rotation=45, ha="right")
    axes.set_yticks(range(len(present)), shown)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{title}\nper cent of each true class's pixels", fontsize=11)
    axes.tick_params(length=0)
    if len(columns) <= NUMBERS_UP_TO:
        for row, column in np.argwhere(shares >= 0.5):
            ink = "white" if shares[row, column] > 55 else "black"
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=9)
    canvas.draw()
    rgba = np.asarray(canvas.buffer_rgba(), np.uint8)
    return np.ascontiguousarray(rgba[..., 2::-1])
