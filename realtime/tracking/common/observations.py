"""What OC-SORT adds: directions between observations, and the filter's second run over the time in which nothing was seen.

Source: Observation-Centric SORT (Cao et al., 2023), sections 4.1 and 4.2.
"""

from __future__ import annotations

import numpy as np

from engines.types import F32
from realtime.tracking.common import kalman
from realtime.tracking.common.kalman import F64, Motion

_STEPS = 4
"""Observations made up between the last real one and the new one. More change the result by less than the noise."""

_SURE_HEIGHTS = 0.15
"""A move by this much of an object's height has a direction; one by less has it the less, as boxes flicker."""


def direction_agreement(past: F64, boxes_px: F32, heights_px: F64, lag_s: float) -> F32:
    """How well each detection lies in the direction in which each track was going.

    past: (N, PAST, 3) s, x, y, newest first. boxes_px: (M, 4). heights_px: (N,). Returns (N, M) float32 in [0, 1]; 0.5 where
    a direction is not known, as for objects that stand still.
    """
    age_s = past[:, :1, 0] - past[:, :, 0]
    older = np.minimum((age_s < lag_s).sum(axis=1), past.shape[1] - 1)
    went = past[:, 0, 1:] - past[np.arange(len(past)), older, 1:]
    centres = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
    goes = centres[None] - past[:, None, 0, 1:]
    went_px, goes_px = np.hypot(went[:, 0], went[:, 1])[:, None], np.hypot(goes[:, :, 0], goes[:, :, 1])
    cosine = np.einsum("nc,nmc->nm", went, goes) / np.maximum(went_px * goes_px, 1e-9)
    least_px = _SURE_HEIGHTS * heights_px[:, None]
    sureness = np.minimum(went_px / least_px, 1) * np.minimum(goes_px / least_px, 1)
    agreement: F32 = (0.5 + 0.5 * cosine * sureness).astype(np.float32)
    return agreement


def refiltered(anchors: Motion, from_px: F32, to_px: F32, gone_s: F64, noise: kalman.Noise) -> Motion:
    """Motions predicted to now, as if their objects had been seen on a straight line since they were seen last.

    anchors: K motions when last seen. from_px, to_px: (K, 4) the boxes then and now. gone_s: (K,) the time between.
    """
    motion, rows = anchors, np.arange(len(anchors))
    step_s = gone_s[:, None] / _STEPS
    for step in range(1, _STEPS + 1):
        motion = kalman.predict(motion, step_s, noise)
        if step < _STEPS:
            motion = kalman.update(motion, rows, from_px + (to_px - from_px) * (step / _STEPS), noise)
    return motion
