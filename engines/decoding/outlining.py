"""Outlining: from cells that have their objects to a label map of pixels, smooth where two objects meet.

A pixel belongs to its cell's object, with three exceptions: where its class is not its cell's, it belongs to the nearest cell
beside that has its class; also where its cell has no object; and on the border of two objects it votes, as cells do.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.grouping import AROUND, Cells, Groups
from engines.types import F64, I64, U8, Bools

HIDDEN = 255
"""In a label map: an object that is not shown. No row has that number, since a label map holds 254."""


def outline(things: U8, cells: Cells, groups: Groups, labels: U8, rows: U8) -> U8:
    """(H, W) uint8 label map of `things`, which `cells` were made of; a new array.

    labels: (N + 1,) uint8, the number of each object of `groups` in the map, HIDDEN for one without a pixel; first a 0.
    rows: (h + 2, w + 2) uint8, the same of each cell.
    """
    height = len(rows) - 2
    bands = things.reshape(height, things.shape[0] // height, -1)
    classes = cells.classes * (rows > 0)
    same = bands == _widened(classes, bands.shape[2])[:, None]
    inside = same.view(np.uint8) * _widened(rows, bands.shape[2])[:, None]
    label_map: U8 = inside.reshape(things.shape)
    _smooth_borders(label_map, things, cells, groups, labels)
    _place_strays(label_map, things, same.reshape(things.shape), cells, groups, labels)
    if HIDDEN in labels:
        label_map *= label_map != HIDDEN
    return label_map


def _widened(cells: U8, width: int) -> U8:
    """(h + 2, w + 2) → (h, width): no border, each column repeated."""
    inner = np.ascontiguousarray(cells[1:-1, 1:-1])
    wide: U8 = cv2.resize(inner, (width, len(inner)), interpolation=cv2.INTER_NEAREST)
    return wide


def _place_strays(label_map: U8, things: U8, same: Bools, cells: Cells, groups: Groups, labels: U8) -> None:
    """Write into `label_map` the pixels of things whose cell is of another class, or of no object."""
    places = np.flatnonzero((things > 0) > same)
    if not len(places):
        return
    step_y, step_x = _steps(things, cells)
    rows, columns = np.divmod(places, things.shape[1])
    homes = (rows // step_y + 1) * cells.classes.shape[1] + columns // step_x + 1
    parts = rows % step_y * step_x + columns % step_x
    beside = homes[:, None] + cells.steps[_nearest_first(step_y, step_x)][parts]
    found = groups.cells.ravel()
    parents = found[beside]
    fits = (cells.classes.ravel()[beside] == things.ravel()[places][:, None]) & (parents > 0)
    first = np.arange(len(places)), fits.argmax(axis=1)
    # Where no neighbour fits, the cell's own object, of any class.
    chosen = np.where(fits[first], parents[first], found[homes])
    label_map.ravel()[places] = labels[chosen]


def _smooth_borders(label_map: U8, things: U8, cells: Cells, groups: Groups, labels: U8) -> None:
    """Write into `label_map` the pixels of cells beside another object's of their class: the votes around, interpolated, decide.

    How much nearer a vote is to the one centre than to the other, in squares, is linear in the vote: so that is interpolated.
    """
    step_y, step_x = _steps(things, cells)
    borders = _borders(groups)
    if not len(borders) or step_y == step_x == 1:
        return
    around = borders[:, None] + np.concatenate(([0], cells.steps))
    found, classes = groups.cells.ravel()[around], cells.classes.ravel()[around]
    has_vote = np.zeros(groups.cells.size, bool)
    has_vote[cells.voters] = np.concatenate(([False], np.isfinite(groups.centres[:, 0])))[groups.owners]
    counts = has_vote[around] & (classes == classes[:, :1])
    is_rival = counts & (found != found[:, :1])
    kept = np.flatnonzero(is_rival.any(axis=1))
    borders, around, found, counts, own_class = borders[kept], around[kept], found[kept], counts[kept], classes[kept, :1]
    own, rival = found[:, 0], found[np.arange(len(kept)), is_rival[kept].argmax(axis=1)]
    counts &= (found == own[:, None]) | (found == rival[:, None])
    there, here = groups.centres[rival - 1], groups.centres[own - 1]
    way, middle = there - here, (there + here) / 2
    votes_x, votes_y = (plane[around] for plane in cells.votes)
    nearer_rival = (votes_x - middle[:, :1]) * way[:, :1] + (votes_y - middle[:, 1:]) * way[:, 1:]
    is_rivals = (nearer_rival * counts) @ _bilinear(step_y, step_x) > 0
    chosen = np.where(is_rivals, labels[rival][:, None], labels[own][:, None]).reshape(-1, step_y, step_x)
    rows, columns = np.divmod(borders, cells.classes.shape[1])
    tiles: npt.NDArray[Any] = label_map.reshape(len(cells.classes) - 2, step_y, -1, step_x)
    at = rows - 1, slice(None), columns - 1
    is_own = things.reshape(tiles.shape)[at] == own_class[:, :, None]
    tiles[at] = np.where(is_own, chosen, tiles[at])


def _steps(things: U8, cells: Cells) -> tuple[int, int]:
    """Rows and columns of pixels to a cell."""
    height, width = cells.classes.shape
    return things.shape[0] // (height - 2), things.shape[1] // (width - 2)


def _borders(groups: Groups) -> I64:
    """The places of the cells of an object with a centre that have another object's beside them."""
    number: npt.NDArray[Any] = groups.cells.astype(np.uint8 if len(groups) < 255 else np.float32)
    # Counted from the other end, the smallest number above zero is the largest.
    reverse = (len(groups) + 1 - number) * (number > 0)
    window = np.ones((3, 3), np.uint8)
    most, least = (cv2.dilate(end, window, borderType=cv2.BORDER_CONSTANT, borderValue=0) for end in (number, reverse))
    is_border = (np.asarray(most) > number) | (np.asarray(least) > reverse)
    places = np.flatnonzero(is_border & (number > 0))
    return np.asarray(places[np.isfinite(groups.centres[groups.cells.ravel()[places] - 1, 0])])


@lru_cache(maxsize=16)
def _nearest_first(step_y: int, step_x: int) -> I64:
    """(step_y * step_x, 8): for each pixel of a cell the places in AROUND, the cell whose middle is nearest first."""
    rows, columns = np.indices((step_y, step_x)).reshape(2, -1, 1) + 0.5
    around = np.array(AROUND) + 0.5
    squares = np.square(rows - around[:, 0] * step_y) + np.square(columns - around[:, 1] * step_x)
    return np.argsort(squares, axis=1, kind="stable")


@lru_cache(maxsize=16)
def _bilinear(step_y: int, step_x: int) -> F64:
    """(9, step_y * step_x): the weights of a cell and of those AROUND it in each of its pixels."""

    def along(step: int) -> F64:
        """(3, step): of the cell before, the cell itself, the one behind."""
        from_middle = (np.arange(step) + 0.5) / step - 0.5
        return np.stack((np.maximum(-from_middle, 0), 1 - np.abs(from_middle), np.maximum(from_middle, 0)))

    rows, columns = along(step_y), along(step_x)
    return np.stack([np.outer(rows[row + 1], columns[column + 1]).ravel() for row, column in ((0, 0), *AROUND)])
