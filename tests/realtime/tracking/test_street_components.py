"""Components of a class map merge with their neighbours and separate again: ids must neither multiply nor be swapped."""

from __future__ import annotations

import numpy as np
import pytest

from engines.decoding.postprocess import as_instances, components
from engines.types import Segmentation, Size
from realtime.sources import open_source
from realtime.sources.synthetic import SyntheticSource, SyntheticTruth
from realtime.tracking import open_tracker

SEEN_PX = 80
"""Smaller objects leave no component to follow."""


def components_of(truth: SyntheticTruth) -> Segmentation:
    """The output of a perfect semantic model: touching objects of a class are one component."""
    size = Size.of(truth.class_map)
    things = tuple(truth.class_names.index(name) for name in ("person", "car"))
    least_px = round(2e-4 * truth.class_map.size)
    found = [(1.0, class_id, mask, where) for class_id, mask, where in components(truth.class_map, things, least_px)]
    return Segmentation(as_instances(found, size, size, 100), truth.class_map)


@pytest.mark.parametrize("every", [1, 2], ids=["all frames", "every second"])
@pytest.mark.parametrize("street", ["objects=8&seed=1", "objects=10&seed=2&crossings=3"])
def test_components_of_a_street_get_few_extra_ids(street: str, every: int) -> None:
    source = open_source(f"synthetic://street?width=480&height=270&fps=15&seconds=5&{street}")
    assert isinstance(source, SyntheticSource)
    tracker = open_tracker("auto")
    ids: set[int] = set()
    true_ids: set[int] = set()
    visible = followed = 0
    for frame in source:
        if frame.index % every:
            continue
        truth = source.truth(frame.index)
        seen = components_of(truth)
        tracks = tracker.update(seen, frame.pts_s, frame.image)
        rows = {track.row for track in tracks if track.row is not None}
        ids |= {track.id for track in tracks}
        for row, true_id in enumerate(truth.ids.tolist()):
            own = truth.label_map == row + 1
            if np.count_nonzero(own) >= SEEN_PX:
                true_ids.add(true_id)
                visible += 1
                followed += int(np.bincount(seen.instances.label_map[own]).argmax()) - 1 in rows
    assert len(true_ids) >= 8
    assert len(ids) <= 1.15 * len(true_ids) + 1
    assert followed > 0.95 * visible
