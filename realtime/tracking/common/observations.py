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


def direction_agreement(past: F64, centres_px: F32, heights_px: F64, lag_s: float) -> F32:
    """How well each of K detections lies in the direction in which its track was going.

    past: (K, PAST, 3) s, x, y of the track, newest first. centres_px: (K, 2) of the detection. heights_px: (K,) of the track.
    Returns (K,) float32 in [0, 1]; 0.5 where a direction is not known, as for objects that stand still.
    """
    age_s = past[:, :1, 0] - past[:, :, 0]
    older = np.minimum((age_s < lag_s).sum(axis=1), past.shape[1] - 1)
    went = past[:, 0, 1:] - past[np.arange(len(past)), older, 1:]
    goes = centres_px - past[:, 0, 1:]
    went_px, goes_px = np.hypot(went[:, 0], went[:, 1]), np.hypot(goes[:, 0], goes[:, 1])
    cosine = (went * goes).sum(axis=1) / np.maximum(went_px * goes_px, 1e-9)
    least_px = _SURE_HEIGHTS * heights_px
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
