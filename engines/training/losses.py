"""One loss for several label sets: cross-entropy over merged classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.datasets.label_sets import merge_matrix
from engines.datasets.settings import SetSettings
from engines.training.recipe import Recipe
from engines.types import F32, VOID_CLASS

SMALLEST_PROBABILITY = 1e-6
LIGHTEST, HEAVIEST = 0.4, 4.0
"""Bounds of the balance by frequency: a class of 0.1 % of the pixels must not outshout the street."""


class SetLoss(NamedTuple):
    """What the loss needs to know of one set.

    merge:   (set classes, model classes) float32, P(set class | model class); see `merge_matrix`.
    weights: (set classes,) float32, weight of each set class in the loss.
    """

    merge: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> SetLoss:
        """The same on `device`."""
        return SetLoss(self.merge.to(device), self.weights.to(device))


def balanced_weights(pixel_shares: F32) -> F32:
    """(classes,) float32: square root of median frequency over frequency, bounded; 0 for classes that never occur.

    Source: SegNet's median frequency balancing (Badrinarayanan et al., 2017), softened by the root.
    """
    present = pixel_shares > 0
    median = np.median(pixel_shares[present])
    weights = np.sqrt(median / np.maximum(pixel_shares, 1e-9))
    return np.where(present, np.clip(weights, LIGHTEST, HEAVIEST), 0).astype(np.float32)


def set_loss(settings: SetSettings, pixel_shares: F32, recipe: Recipe) -> SetLoss:
    """Merge matrix and class weights of one set. A set class is emphasised as its most emphasised model class is."""
    merge = merge_matrix(settings, recipe.classes)
    factors = np.array([recipe.emphasis.get(name, 1.0) for name in recipe.classes], np.float32)
    own_name = [name in recipe.classes for name in settings.classes]
    emphasis = np.where(own_name, ((merge > 0) * factors).max(axis=1), 1)
    covered = merge.sum(axis=1) > 0
    weights = balanced_weights(pixel_shares) * emphasis * covered
    return SetLoss(torch.from_numpy(merge), torch.from_numpy(weights.astype(np.float32)))


def merged_loss(logits: Tensor, labels: Tensor, origins: Sequence[int], sets: Sequence[SetLoss]) -> Tensor:
    """Weighted mean over all labelled pixels of -log(sum over model classes of merge * softmax).

    logits: (N, C, h, w) float32. labels: (N, h, w) uint8, each image in the classes of its own set `origins[n]`, 255 void.
    Returns a scalar; 0 when no pixel is labelled.
    """
    total, weight = logits.new_zeros(()), logits.new_zeros(())
    for index, loss in enumerate(sets):
        rows = [row for row, origin in enumerate(origins) if origin == index]
        if not rows:
            continue
        targets = labels[rows].long()
        log_merged = _log_merged(logits[rows], loss.merge)
        # Void pixels point at class 0 with weight 0: `gather` wants valid indices.
        void = targets == VOID_CLASS
        targets = targets.masked_fill(void, 0)
        weights = loss.weights[targets].masked_fill(void, 0)
        total = total - (weights * log_merged.gather(1, targets[:, None])[:, 0]).sum()
        weight = weight + weights.sum()
    return total / weight.clamp(min=1e-6)


def _log_merged(logits: Tensor, merge: Tensor) -> Tensor:
    """(N, C, h, w) logits to (N, set classes, h, w) log probabilities of the set's classes."""
    if merge.shape[0] == merge.shape[1] and torch.equal(merge, torch.eye(len(merge), device=merge.device)):
        return functional.log_softmax(logits, dim=1)
    probabilities = functional.softmax(logits, dim=1)
    return torch.einsum("kc,nchw->nkhw", merge, probabilities).add(SMALLEST_PROBABILITY).log()
