"""Run lengths of the objects in a label map, as COCO counts them."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from engines.types import I64, U8


def run_lengths(label_map: U8, count: int) -> list[list[int]]:
    """The masks of rows 0 .. count - 1 as uncompressed COCO run lengths.

    label_map: (H, W) uint8, i + 1 = row i. Returns per row the lengths of runs outside and inside the object, in turn,
    down each column and column after column, beginning outside (so the first may be 0); they add up to H * W.
    The map is read once for all objects. Source: pycocotools, common/maskApi.h.
    """
    flat = cv2.transpose(label_map).reshape(-1) if label_map.size else label_map.reshape(-1)
    starts = np.concatenate((np.zeros(min(1, flat.size), np.intp), np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size)
    labels = flat[starts]
    by_label = np.argsort(labels, kind="stable")  # stable: within one object runs stay in reading order
    bounds = np.searchsorted(labels[by_label], np.arange(1, count + 2))
    return [
        _alternating(starts[runs], lengths[runs], flat.size)
        for runs in (by_label[low:high] for low, high in itertools.pairwise(bounds.tolist()))
    ]


def _alternating(starts: I64, lengths: I64, total: int) -> list[int]:
    ends = starts + lengths
    counts = np.empty(2 * len(starts) + 1, np.int64)
    counts[0:-1:2] = np.diff(ends, prepend=0) - lengths  # the gap before each run
    counts[1::2] = lengths
    counts[-1] = total - (ends[-1] if len(ends) else 0)
    tail_is_empty = len(starts) > 0 and counts[-1] == 0
    run_list: list[int] = (counts[:-1] if tail_is_empty else counts).tolist()
    return run_list
