"""Boundary F1: the accuracy of outlines. IoU hardly reflects it on large regions, and exaggerates it on thin ones.

Of one class in one image, with B its true boundary and P the predicted one:
    precision = share of P less than `tolerance` away from B
    recall    = share of B less than `tolerance` away from P
    F1        = 2 precision recall / (precision + recall)
A class's score is the mean over the images where it has a boundary, true or predicted; the tolerance is a share of the diagonal.
Source: Csurka, Larlus, Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013, section 2.2, which
also takes 0.75 % of the diagonal.
"""

from __future__ import annotations

import cv2
import numpy as np

from engines.types import F64, U8, VOID_CLASS, Bools

TOLERANCE_SHARE = 0.0075


def tolerance_px(height: int, width: int) -> float:
    """The allowed distance between boundaries, in pixels, for a label of this size."""
    return float(TOLERANCE_SHARE * np.hypot(height, width))


def boundary(label_map: U8, known: Bools) -> Bools:
    """(H, W) bool: known pixels with a known neighbour (left, right, above, below) of another class.

    The rim of the picture is not a boundary, nor is the edge of void: the class beyond is unknown.
    """
    edge = np.zeros(label_map.shape, bool)
    across = (label_map[:, 1:] != label_map[:, :-1]) & known[:, 1:] & known[:, :-1]
    down = (label_map[1:] != label_map[:-1]) & known[1:] & known[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def boundary_f1(truth: U8, predicted: U8, class_count: int) -> F64:
    """(classes,) float64 in 0..1 for one image; NaN for a class without a boundary in either map.

    truth: (H, W) uint8; void, 255, is left out of both maps. predicted: (H, W) uint8; class_count or more is no class.
    """
    known = truth != VOID_CLASS
    true_edge, predicted_edge = boundary(truth, known), boundary(predicted, known)
    limit = tolerance_px(*truth.shape)
    scores = np.full(class_count, np.nan)
    for class_id in range(class_count):
        true_line, predicted_line = true_edge & (truth == class_id), predicted_edge & (predicted == class_id)
        there, found = int(true_line.sum()), int(predicted_line.sum())
        if there and found:
            precision = _share_near(predicted_line, true_line, limit)
            recall = _share_near(true_line, predicted_line, limit)
            scores[class_id] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        elif there or found:
            scores[class_id] = 0.0
    return scores


def _share_near(line: Bools, other: Bools, limit_px: float) -> float:
    """The share of `line` less than `limit_px` away from `other`; neither is empty."""
    distance_px = cv2.distanceTransform((~other).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((np.asarray(distance_px)[line] < limit_px).mean())
