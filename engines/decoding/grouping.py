"""Grouping: which object each cell of a coarse grid belongs to, by the centres found and by where each cell says its centre is.

A cell votes for the point that its offset leads to; the nearest centre wins. Source: Panoptic-DeepLab (Cheng et al., 2020), 3.2.
Grids have a border of zeros, one cell wide, and are flat where cells are indexed: each cell has eight neighbours at the same
distances. A place is a cell's index in such a flat grid.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engines.decoding.postprocess import Rectangle, components
from engines.types import F32, F64, I32, I64, U8, Bools

LEAST_PEAK_SCORE = 0.15
"""Lower peaks of the heat map are noise. Panoptic-DeepLab says 0.1, which cut large cars of `road` in pieces."""

MERGE_SHARE = 0.3
"""Two centres nearer than this share of the smaller object's width and height are one object's."""

HALVES_SHARE, HALVES_RATIO = 0.7, 0.25
"""The same where the smaller has at least this share of the larger's cells: halves, as a face and a shoulder, not a child before
a lorry. Of people who were two, 3 of 105 pairs were that near on photographs; of cars, none on a street."""

NEAR_SHARE = 0.5
"""A vote that misses its centre by more than this share of the object's sides is for an object whose centre was not found: the
middle between an object's own centre and that of a neighbour of its size."""

OWN_SHARE = 1 / 3
"""What votes for no centre found, but for a point within this share of its own sides around its own middle, is an object whose
centre was not found; what votes for a point beside itself is a piece of one that was: a shoulder that half leads elsewhere."""

FAR_SHARE = 2 * NEAR_SHARE
"""Such a piece belongs to the centre nearest to its votes, unless it misses that by more than this share of its sides."""

PIECE_SHARE, PIECE_BORDER = 0.25, 2.0
"""Such a piece is also what has less than this share of the cells of an object that it touches along a border of at least so many
square roots of its own cells, half of its outline: an arm, not a child."""

LEAST_SIDE_CELLS = 4
"""No object counts as smaller than this: below it, an error of a cell or two means nothing."""

LARGEST_SIDE_PX = 16384
"""No offset of a network gone wrong makes an object larger; any vote would be near enough then."""

MAX_PEAKS = 2**10
"""The best so many centres are looked at, four times what a label map holds."""

AROUND = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""The eight cells around a cell as rows and columns, the nearest first."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A grid of (h, w) cells over a map of classes, and over the network's input; g = (h + 2) * (w + 2) with the border.

    classes: (h + 2, w + 2) uint8, 0 = nothing countable, c + 1 = class c. voters: (n,) the places of the cells whose vote counts.
    offsets: (2, n) float32, x and y from each voter's middle to its object's centre, in network px. votes: (2, g) float32, where
    that is, of every cell. side_px: a cell's width and height, in network px.
    """

    classes: U8
    voters: I64
    offsets: F32
    votes: F32
    side_px: tuple[float, float]

    @property
    def steps(self) -> I64:
        """(8,) from a place to those around it, the nearest first."""
        return _steps_around(self.classes.shape[1])


@dataclass(frozen=True, slots=True)
class Groups:
    """N objects. cells: (h + 2, w + 2) int32, 0 = none, i + 1 = object i. owners: (n,) int32, the same of each voter.

    centres: (N, 2) float64 x, y in network px; NaN for objects without one. peak_scores: (N,), 1 for these.
    """

    cells: I32
    owners: I32
    centres: F64
    peak_scores: F64

    def __len__(self) -> int:
        return len(self.peak_scores)


def make_cells(things: U8, offsets: F32, side_px: tuple[float, float]) -> Cells:
    """things: (H, W) uint8, 0 = nothing countable, c + 1 = class c; H and W are multiples of h and w. offsets: (2, h, w).

    A cell's class is that of its middle pixel; where this is nothing, the last class in it. Cells of the latter kind only vote
    where no neighbour of their class has a better right to: on an object's fringe, offsets are not what the network learned.
    """
    height, width = offsets.shape[1:]
    step_y, step_x = things.shape[0] // height, things.shape[1] // width
    middles = np.zeros((height + 2, width + 2), np.uint8)
    middles[1:-1, 1:-1] = things[step_y // 2 :: step_y, step_x // 2 :: step_x]
    classes = np.zeros_like(middles)
    rows = np.maximum.reduce(things.reshape(height, step_y, -1), axis=1)
    last = classes[1:-1, 1:-1]
    for column in range(step_x):
        np.maximum(last, rows[:, column::step_x], out=last)
    is_voter = middles > 0
    fringe = np.flatnonzero((classes > 0) > is_voter)
    np.copyto(classes, middles, where=is_voter)
    votes = np.zeros((2, height + 2, width + 2), np.float32)
    np.add(offsets[0], _middles(width, side_px[0]), out=votes[0, 1:-1, 1:-1])
    np.add(offsets[1], _middles(height, side_px[1])[:, None], out=votes[1, 1:-1, 1:-1])
    beside = middles.ravel()[fringe[:, None] + _steps_around(width + 2)]
    is_lonely = ~(beside == classes.ravel()[fringe][:, None]).any(axis=1)
    is_voter.ravel()[fringe[is_lonely]] = True
    voters = np.flatnonzero(is_voter)
    inner = voters - 2 * (voters // (width + 2)) - width - 1
    ways = np.stack((offsets[0].ravel()[inner], offsets[1].ravel()[inner]))
    return Cells(classes, voters, ways, votes.reshape(2, -1), side_px)


@lru_cache(maxsize=16)
def _steps_around(width: int) -> I64:
    """From a place in a grid of `width` columns, border included, to those AROUND it."""
    return np.array([row * width + column for row, column in AROUND])


def _middles(count: int, side_px: float) -> F32:
    """(count,) where cells have their middles, in network px."""
    return (np.arange(count, dtype=np.float32) + np.float32(0.5)) * np.float32(side_px)


def group(cells: Cells, peaks: F64, least_cells: int) -> Groups:
    """Give each cell its object.

    peaks: (K, 3) x, y in network px and score, falling. Cells whose vote is near no centre make objects of their own, by
    connected components of a class, unless they lean on another: see OWN_SHARE. Objects of fewer than `least_cells` votes are
    specks. What has no object then, specks and fringe, takes that of a neighbour of its class.
    """
    peaks = peaks[peaks[:, 2] >= LEAST_PEAK_SCORE][:MAX_PEAKS]
    if len(peaks) and len(cells.voters):
        nearest_peak, misses = _nearest_peak(cells, peaks)
    else:
        nearest_peak, misses = np.zeros(len(cells.voters), np.int64), np.full(len(cells.voters), np.inf)
    owners = np.where(misses <= NEAR_SHARE, nearest_peak + 1, 0).astype(np.int32)
    count = len(peaks)
    left = np.flatnonzero(owners == 0)
    if len(left):
        parts = np.zeros(cells.classes.shape, np.int32)
        for mask, (x, y, w, h) in _parts(cells, cells.voters[left], least_cells):
            count += 1
            np.copyto(parts[y : y + h, x : x + w], count, where=mask > 0)
        owners[left] = parts.ravel()[cells.voters[left]]
        leans = _leaning(cells, owners, len(peaks), count)[owners[left]]
        adopted = left[leans & (misses[left] <= FAR_SHARE)]
        owners[adopted] = nearest_peak[adopted] + 1
        owners = _pieces_given(cells, owners, len(peaks), count)
    return _settled(cells, owners, peaks, count, least_cells)


def _leaning(cells: Cells, owners: I32, peak_count: int, count: int) -> Bools:
    """(count + 1,) bool: does this part, one of those after the peaks' objects, vote for a point beside its own middle?"""
    mine = np.flatnonzero(owners > peak_count)
    parts, (rows, columns) = owners[mine], np.divmod(cells.voters[mine], cells.classes.shape[1])
    sizes = np.maximum(np.bincount(parts, minlength=count + 1), 1)
    leans = np.zeros(count + 1, bool)
    for axis, places in enumerate((columns, rows)):
        first, last = np.full(count + 1, np.iinfo(np.int64).max), np.zeros(count + 1, np.int64)
        np.minimum.at(first, parts, places)
        np.maximum.at(last, parts, places)
        middle = ((first + last) / 2 - 0.5) * cells.side_px[axis]  # less the border
        side = np.maximum(last - first + 1, LEAST_SIDE_CELLS) * cells.side_px[axis]
        mean_vote = np.bincount(parts, cells.votes[axis][cells.voters[mine]], count + 1) / sizes
        leans |= np.abs(mean_vote - middle) > OWN_SHARE * side
    leans[: peak_count + 1] = False
    return leans


def _pieces_given(cells: Cells, owners: I32, peak_count: int, count: int) -> I32:
    """The owners, with what is a piece of a neighbour given to it: see PIECE_SHARE. A part is one after the peaks' objects."""
    found = np.zeros(cells.classes.size, np.int32)
    found[cells.voters] = owners
    places = cells.voters[owners > peak_count]
    beside = places[:, None] + cells.steps[:4]
    classes = cells.classes.ravel()
    mine, others = np.broadcast_to(found[places][:, None], beside.shape), found[beside]
    touches = (others > 0) & (others != mine) & (classes[beside] == classes[places][:, None])
    pairs, borders = np.unique(mine[touches] * np.int64(count + 1) + others[touches], return_counts=True)
    sizes = np.bincount(owners, minlength=count + 1)
    part, neighbour = np.divmod(pairs, count + 1)
    fits = (borders >= PIECE_BORDER * np.sqrt(sizes[part])) & (sizes[part] < PIECE_SHARE * sizes[neighbour])
    order = np.flatnonzero(fits)[np.argsort(borders[fits], kind="stable")]
    whole = np.arange(count + 1, dtype=np.int32)
    whole[part[order]] = neighbour[order]  # of several neighbours the one with the longest border, which comes last
    while (whole[whole] != whole).any():  # a piece of a piece; each is smaller than the next
        whole = whole[whole]
    return np.asarray(whole[owners], np.int32)


def _parts(cells: Cells, places: I64, least_cells: int) -> Iterator[tuple[U8, Rectangle]]:
    """The connected components of each class among the cells at `places`: masks and their rectangles in the bordered grid."""
    alone = np.full(cells.classes.size, 255, np.uint8)
    alone[places] = cells.classes.ravel()[places] - 1
    present = tuple(np.flatnonzero(np.bincount(alone[places])).tolist())
    for _, mask, rectangle in components(alone.reshape(cells.classes.shape), present, least_cells):
        yield mask, rectangle


def nearest(votes: F32, centres: F64) -> I64:
    """For each of (2, N) votes the place in (P, 2) centres, P <= MAX_PEAKS, of the nearest; the first of equals."""
    left = np.ones((len(centres), 4))
    left[:, :2] = -2 * centres
    left[:, 2] += np.square(centres).sum(axis=1)  # one more, so that no rounding leaves a negative square
    right = np.ones((4, votes.shape[1]))
    right[:2] = votes
    np.add(right[0] * right[0], right[1] * right[1], out=right[3])
    # The bits of positive doubles sort as the numbers do. The last of them, 1e-12 of the square, give way to the place:
    # a minimum then finds both, in a tenth of an argmin's time.
    bits = (left @ right).view(np.int64)
    bits &= -MAX_PEAKS
    bits |= np.arange(len(centres))[:, None]
    return np.asarray(np.minimum.reduce(bits, axis=0) & (MAX_PEAKS - 1))


def _nearest_peak(cells: Cells, peaks: F64) -> tuple[I64, F64]:
    """For each voter the peak that its vote is nearest to, after merging, and how far off, as a share of that object's sides."""
    count = len(peaks)
    votes = np.stack((cells.votes[0][cells.voters], cells.votes[1][cells.voters]))
    chosen = nearest(votes, peaks[:, :2])
    sums = np.empty((3, count))
    sums[0] = np.bincount(chosen, minlength=count)
    for axis in (0, 1):
        sums[axis + 1] = np.bincount(chosen, np.abs(cells.offsets[axis]), count)
    sides = _sides(sums, cells.side_px)
    master = _merged(peaks, sides, sums[0])
    if (master != np.arange(count)).any():
        joined = np.stack([np.bincount(master, numbers, count) for numbers in sums]).astype(np.float64)
        sides = _sides(joined, cells.side_px)[:, master]
    # Of each peak, then of its voters: where it is, and the size of its object.
    table = np.concatenate((peaks[:, :2].T, 1 / sides))[:, chosen]
    miss_x, miss_y = (votes[0] - table[0]) * table[2], (votes[1] - table[1]) * table[3]
    return master[chosen], np.asarray(np.sqrt(miss_x * miss_x + miss_y * miss_y))


def _sides(sums: F64, side_px: tuple[float, float]) -> F64:
    """(2, P) width and height of each centre's object, in network px. sums: (3, P) its cells, how far they say it is in x, in y.

    That is on average a quarter of the side: it holds for an object seen in part, and does not grow with the cells of another
    that found no nearer centre.
    """
    means = sums[1:] / np.maximum(sums[0], 1)
    least = LEAST_SIDE_CELLS * np.array(side_px)[:, None]
    return np.asarray(np.minimum(np.maximum(4 * means, least), LARGEST_SIDE_PX))


def _merged(peaks: F64, sides: F64, votes: F64) -> I64:
    """For each peak the better one that it is merged into, or itself. Peaks without votes are not merged."""
    shares = [(peaks[:, axis, None] - peaks[:, axis]) / np.minimum(sides[axis, :, None], sides[axis]) for axis in (0, 1)]
    are_halves = np.minimum.outer(votes, votes) >= HALVES_RATIO * np.maximum.outer(votes, votes)
    close = shares[0] * shares[0] + shares[1] * shares[1] < np.where(are_halves, HALVES_SHARE, MERGE_SHARE) ** 2
    master = np.arange(len(peaks))
    if np.count_nonzero(close) == len(peaks):  # each is close to itself alone
        return master
    close &= np.outer(votes > 0, votes > 0)
    for index in np.flatnonzero(np.triu(close, 1).any(axis=0)).tolist():
        better = np.flatnonzero(close[index, :index] & (master[:index] == np.arange(index)))
        if len(better):
            master[index] = better[0]
    return master


def _settled(cells: Cells, owners: I32, peaks: F64, count: int, least_cells: int) -> Groups:
    """Specks removed, fringe adopted, objects numbered without gaps."""
    sizes = np.bincount(owners, minlength=count + 1)
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= least_cells)
    numbers = np.zeros(count + 1, np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    owners = numbers[owners]
    found = np.zeros(cells.classes.shape, np.int32)
    flat, classes = found.ravel(), cells.classes.ravel()
    flat[cells.voters] = owners
    orphans = np.flatnonzero((classes > 0) > (flat > 0))
    around = orphans[:, None] + cells.steps
    parents = flat[around]
    fits = (classes[around] == classes[orphans][:, None]) & (parents > 0)
    first = np.arange(len(orphans)), fits.argmax(axis=1)
    flat[orphans] = parents[first] * fits[first]
    with_centre = kept[kept <= len(peaks)] - 1
    without = len(kept) - len(with_centre)
    centres = np.concatenate((peaks[with_centre, :2], np.full((without, 2), np.nan)))
    scores = np.concatenate((peaks[with_centre, 2], np.ones(without)))
    return Groups(found, owners, centres, scores)
