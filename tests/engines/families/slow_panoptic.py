"""Grouping by centres, written down as plainly as it can be: one cell, one peak and one pixel after the other."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.decoding.postprocess import components
from engines.types import Size

Place = tuple[int, int]
AROUND = [(-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]


class Slow:
    """things: (H, W), 0 nothing, c + 1 class c. peaks: (K, 3), falling. offsets: (2, h, w)."""

    def __init__(self, things: npt.NDArray[Any], peaks: npt.NDArray[Any], offsets: npt.NDArray[Any], net: Size) -> None:
        self.things, self.offsets = things.astype(int), offsets.astype(np.float32)
        self.height, self.width = offsets.shape[1:]
        self.step_y, self.step_x = things.shape[0] // self.height, things.shape[1] // self.width
        self.side = net.width / self.width, net.height / self.height
        self.peaks = [tuple(map(float, peak)) for peak in peaks if peak[2] >= np.float32(0.15)]
        self.places = [(i, j) for i in range(self.height) for j in range(self.width)]
        self.class_of, self.voters = {}, set()
        for i, j in self.places:
            tile = self.things[i * self.step_y : (i + 1) * self.step_y, j * self.step_x : (j + 1) * self.step_x]
            middle = int(tile[self.step_y // 2, self.step_x // 2])
            self.class_of[i, j] = middle or int(tile.max())
            if middle:
                self.voters.add((i, j))
        middles = set(self.voters)
        for place in self.places:
            if self.class_of[place] and place not in middles:
                beside = [other for other in self.beside(place) if other in middles]
                if all(self.class_of[other] != self.class_of[place] for other in beside):
                    self.voters.add(place)
        self.objects: dict[Place, int] = {}
        self.centres: dict[int, tuple[float, float]] = {}

    def beside(self, place: Place) -> list[Place]:
        return [
            (place[0] + i, place[1] + j) for i, j in AROUND if 0 <= place[0] + i < self.height and 0 <= place[1] + j < self.width
        ]

    def middle(self, place: Place) -> tuple[float, float]:
        return (place[1] + 0.5) * self.side[0], (place[0] + 0.5) * self.side[1]

    def vote(self, place: Place) -> tuple[float, float]:
        x, y = self.middle(place)
        return float(np.float32(x) + self.offsets[0][place]), float(np.float32(y) + self.offsets[1][place])

    def sides(self, members: list[Place]) -> tuple[float, float]:
        found = []
        for axis in (0, 1):
            mean = sum(abs(float(self.offsets[axis][place])) for place in members) / max(1, len(members))
            found.append(max(4 * mean, 4 * self.side[axis]))
        return found[0], found[1]

    def leans(self, part: list[Place]) -> bool:
        """Is the mean vote of these cells off their own middle?"""
        for axis in (0, 1):
            ends = [place[1 - axis] for place in part]
            middle = (min(ends) + max(ends) + 1) / 2 * self.side[axis]
            side = max(max(ends) - min(ends) + 1, 4) * self.side[axis]
            if abs(sum(self.vote(place)[axis] for place in part) / len(part) - middle) > side / 3:
                return True
        return False

    def group(self, least_cells: int) -> None:
        chosen = {}
        for place in self.voters if self.peaks else ():
            x, y = self.vote(place)
            chosen[place] = min(range(len(self.peaks)), key=lambda k: math.dist((x, y), self.peaks[k][:2]))
        members = {k: [place for place, peak in chosen.items() if peak == k] for k in range(len(self.peaks))}
        sides = {k: self.sides(members[k]) for k in members}
        master = {k: k for k in members}
        for k in members:
            for better in range(k):
                width, height = (min(sides[k][axis], sides[better][axis]) for axis in (0, 1))
                apart = ((self.peaks[k][axis] - self.peaks[better][axis]) / (width, height)[axis] for axis in (0, 1))
                fewer, more = sorted((len(members[k]), len(members[better])))
                is_close = math.hypot(*apart) < (0.7 if fewer >= 0.25 * more else 0.3)
                if is_close and master[better] == better and members[k] and members[better]:
                    master[k] = better
                    break
        joined = {k: [place for place, peak in chosen.items() if master[peak] == k] for k in members}
        left, misses = set(self.voters), {}
        for place, peak in chosen.items():
            owner = master[peak]
            width, height = self.sides(joined[owner])
            x, y = self.vote(place)
            misses[place] = math.hypot((x - self.peaks[peak][0]) / width, (y - self.peaks[peak][1]) / height)
            if misses[place] <= 0.5:
                self.objects[place] = owner
                self.centres[owner] = self.peaks[owner][:2]
                left.discard(place)
        # With a border as the fast way has it: OpenCV numbers regions by blocks of 2 x 2, which settles who is first of equals.
        alone = np.full((self.height + 2, self.width + 2), 255, np.uint8)
        for i, j in left:
            alone[i + 1, j + 1] = self.class_of[i, j]
        for number, (_, mask, (x, y, _, _)) in enumerate(components(alone, tuple(range(1, 255)), least_cells)):
            part = [(y + i - 1, x + j - 1) for i, j in np.argwhere(mask).tolist()]
            for place in part:
                if self.leans(part) and misses.get(place, math.inf) <= 1:
                    owner = self.objects[place] = master[chosen[place]]
                    self.centres[owner] = self.peaks[owner][:2]
                else:
                    self.objects[place] = 1000 + number
        self.give_pieces()
        for owner in set(self.objects.values()):
            own = [place for place, found in self.objects.items() if found == owner]
            if len(own) < least_cells:
                for place in own:
                    del self.objects[place]

    def give_pieces(self) -> None:
        """What is small beside a neighbour and touches it along half of its own outline is a piece of it."""
        sizes = Counter(self.objects.values())
        whole = {}
        for part in [owner for owner in sizes if owner >= 1000]:
            borders: Counter[int] = Counter()
            for (i, j), owner in self.objects.items():
                for other in ((i - 1, j), (i, j - 1), (i, j + 1), (i + 1, j)) if owner == part else ():
                    if self.objects.get(other, part) != part and self.class_of[other] == self.class_of[i, j]:
                        borders[self.objects[other]] += 1
            fits = [
                (border, neighbour)
                for neighbour, border in borders.items()
                if border >= 2 * math.sqrt(sizes[part]) and sizes[part] < 0.25 * sizes[neighbour]
            ]
            if fits:
                whole[part] = max(fits)[1]
        for place, owner in self.objects.items():
            while owner in whole:
                owner = whole[owner]
            self.objects[place] = owner

    def adopt(self) -> dict[Place, int]:
        found = dict(self.objects)
        for place in self.places:
            if self.class_of[place] and place not in self.objects:
                for other in self.beside(place):
                    if other in self.objects and self.class_of[other] == self.class_of[place]:
                        found[place] = self.objects[other]
                        break
        return found

    def pixel(self, row: int, column: int, found: dict[Place, int]) -> int | None:
        """The object of one pixel of a thing."""
        class_id = self.things[row, column]
        home = row // self.step_y, column // self.step_x
        if self.class_of[home] != class_id or home not in found:
            nearest = sorted(
                self.beside(home),
                key=lambda p: ((p[0] + 0.5) * self.step_y - row - 0.5) ** 2 + ((p[1] + 0.5) * self.step_x - column - 0.5) ** 2,
            )
            fits = [found[place] for place in nearest if place in found and self.class_of[place] == class_id]
            return fits[0] if fits else found.get(home)
        own = found[home]
        if own not in self.centres or self.step_y == self.step_x == 1:
            return own

        def counts(place: Place) -> bool:
            return self.objects.get(place) in self.centres and self.class_of[place] == class_id

        rivals = [found[place] for place in self.beside(home) if counts(place) and found[place] != own]
        if not rivals:
            return own
        lean = 0.0
        for place in (home, *self.beside(home)):
            if counts(place) and found[place] in (own, rivals[0]):
                down = 1 - abs((row + 0.5) / self.step_y - place[0] - 0.5)
                across = 1 - abs((column + 0.5) / self.step_x - place[1] - 0.5)
                if down > 1e-9 and across > 1e-9:
                    vote = self.vote(place)
                    nearer = math.dist(vote, self.centres[own]) ** 2 - math.dist(vote, self.centres[rivals[0]]) ** 2
                    lean += down * across * nearer
        return rivals[0] if lean > 0 else own


def slow_label_map(
    things: npt.NDArray[Any],
    peaks: npt.NDArray[Any],
    offsets: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
    net: Size,
    threshold: float,
) -> npt.NDArray[Any]:
    """(H, W) 0 none, i + 1 row i, rows by falling score and number of cells."""
    slow = Slow(things, peaks, offsets, net)
    slow.group(max(1, max(16, round(2e-4 * things.size)) // (slow.step_y * slow.step_x)))
    found = slow.adopt()
    scores = {}
    for owner in sorted(set(slow.objects.values())):  # of equals the first stays first
        own = sorted(place for place, other in slow.objects.items() if other == owner)
        mean = sum(float(np.float32(confidence[place]) / np.float32(255)) for place in own) / len(own)
        score = slow.peaks[owner][2] ** 0.25 * mean**0.75 if owner in slow.centres else mean
        scores[owner] = (round(score, 6), len(own))
    sure = [owner for owner in scores if scores[owner][0] >= threshold]
    order = sorted(sure, key=lambda owner: tuple(-number for number in scores[owner]))
    labels = {owner: row + 1 for row, owner in enumerate(order[:100])}
    answer = np.zeros(things.shape, int)
    for row, column in np.argwhere(things > 0).tolist():
        owner = slow.pixel(row, column, found)
        answer[row, column] = 0 if owner is None else labels.get(owner, 0)
    present = [label for label in range(1, len(labels) + 1) if (answer == label).any()]
    return np.array([0, *(present.index(label) + 1 if label in present else 0 for label in range(1, len(labels) + 1))])[answer]
