"""Outlining: from cells that have their objects to a label map of pixels, smooth where two objects meet.

A pixel belongs to its cell's object, but for three: where its class is not its cell's, it belongs to the nearest cell beside that
is of its class; where that is no object's, too; and on the border of two objects it votes itself, as the cells around it do.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.grouping import AROUND, F64, I64, Cells, Groups, bordered, in_border, steps_around
from engines.types import U8

HIDDEN = 255
"""In a label map: an object that is not to be seen. No row has it, since a label map holds 254."""


def outline(things: U8, cells: Cells, groups: Groups, labels: U8) -> U8:
    """(H, W) uint8 label map of `things`, which `cells` were made of; a new array.

    labels: (N + 1,) uint8, what each object of `groups` is called in the map, HIDDEN for one that leaves no pixel; first a 0.
    """
    height = len(cells.classes)
    step_y = things.shape[0] // height
    is_alive = groups.cells > 0
    bands = things.reshape(height, step_y, -1)
    same = bands == _widened(cells.classes * is_alive, bands.shape[2])[:, None]
    inside = same * _widened(labels[groups.cells], bands.shape[2])[:, None]
    label_map: U8 = inside.reshape(things.shape)
    _smooth_borders(label_map, things, cells, groups, labels)
    _place_strays(label_map, things, same.reshape(things.shape), cells, groups, labels)
    if (labels == HIDDEN).any():
        label_map *= label_map != HIDDEN
    return label_map


def _widened(cells: U8, width: int) -> U8:
    """(h, w) → (h, width), each column repeated."""
    wide: U8 = cv2.resize(np.ascontiguousarray(cells), (width, cells.shape[0]), interpolation=cv2.INTER_NEAREST)
    return wide


def _place_strays(label_map: U8, things: U8, same: npt.NDArray[np.bool_], cells: Cells, groups: Groups, labels: U8) -> None:
    """Write into `label_map` the pixels of things whose cell is of another class, or of no object."""
    height, width = cells.classes.shape
    step_y, step_x = things.shape[0] // height, things.shape[1] // width
    places = np.flatnonzero(things.view(np.bool_) > same)
    if not len(places):
        return
    classes, found = bordered(cells.classes), bordered(groups.cells)
    rows, columns = np.divmod(places, things.shape[1])
    homes = in_border(rows // step_y * width + columns // step_x, width)
    parts = (rows % step_y) * step_x + columns % step_x
    beside = homes[:, None] + steps_around(width)[_nearest_first(step_y, step_x)][parts]
    parents = found[beside]
    fits = (classes[beside] == things.ravel()[places][:, None]) & (parents > 0)
    first = fits.argmax(axis=1)
    place = np.arange(len(places))
    # For want of a better one the cell's own, of whatever class.
    chosen = np.where(fits[place, first], parents[place, first], found[homes])
    label_map.ravel()[places] = labels[chosen]


def _smooth_borders(label_map: U8, things: U8, cells: Cells, groups: Groups, labels: U8) -> None:
    """Write into `label_map` the pixels of cells beside another object's of their class: the votes around, interpolated, decide.

    How much nearer a vote is to the one centre than to the other, in squares, is linear in the vote: so that is interpolated.
    """
    height, width = cells.classes.shape
    step_y, step_x = things.shape[0] // height, things.shape[1] // width
    borders = _borders(groups)
    if not len(borders) or step_y == step_x == 1:
        return
    around = in_border(borders, width)[:, None] + np.concatenate(([0], steps_around(width)))
    has_centre = np.concatenate(([False], np.isfinite(groups.centres[:, 0])))
    found, classes = bordered(groups.cells)[around], bordered(cells.classes)[around]
    counts = bordered(cells.is_voter)[around] & has_centre[found] & (classes == classes[:, :1])
    is_rival = counts & (found != found[:, :1])
    kept = np.flatnonzero(is_rival.any(axis=1))
    borders, around, found, counts, own_class = borders[kept], around[kept], found[kept], counts[kept], classes[kept, :1]
    own, rival = found[:, 0], found[np.arange(len(kept)), is_rival[kept].argmax(axis=1)]
    counts &= (found == own[:, None]) | (found == rival[:, None])
    there, here = groups.centres[rival - 1], groups.centres[own - 1]
    votes_x, votes_y = (bordered(plane)[around] for plane in cells.votes)
    middle_x, middle_y = ((there + here) / 2).T[:, :, None]
    nearer_rival = (votes_x - middle_x) * (there - here)[:, :1] + (votes_y - middle_y) * (there - here)[:, 1:]
    is_rivals = (nearer_rival * counts) @ _bilinear(step_y, step_x) > 0
    chosen = np.where(is_rivals, labels[rival][:, None], labels[own][:, None]).reshape(-1, step_y, step_x)
    rows, columns = np.divmod(borders, width)
    tiles: npt.NDArray[Any] = label_map.reshape(height, step_y, width, step_x)
    is_own = things.reshape(tiles.shape)[rows, :, columns] == own_class[:, :, None]
    tiles[rows, :, columns] = np.where(is_own, chosen, tiles[rows, :, columns])


def _borders(groups: Groups) -> I64:
    """Places in the grid of the cells of an object with a centre that have another object's beside them."""
    number: npt.NDArray[Any] = groups.cells.astype(np.uint8 if len(groups) < 255 else np.float32)
    # Counted from the other end, the least that is not nought is the largest.
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
