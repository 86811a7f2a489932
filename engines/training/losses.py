"""The losses of all tasks: classes of several label sets, the road's surface, objects' centres and offsets."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.datasets.settings import SetSettings
from engines.evaluation.mapping import merge_matrix
from engines.models.fit import Fit, InputFiller
from engines.training.data import TrainingSets
from engines.training.model import SURFACE_WEIGHTS, Net, normalised, upsampled
from engines.training.recipe import Recipe
from engines.types import F32, U8, VOID_CLASS

SMALLEST_PROBABILITY = 1e-6
LIGHTEST, HEAVIEST = 0.4, 4.0
"""Bounds of the balance by frequency: a class of 0.1 % of the pixels must not dominate the loss."""
MOST_HELD_OUT = 40
"""Held-out images of each set, evenly spread: enough for a curve."""


class SetLoss(NamedTuple):
    """What the loss needs from one set.

    merge:   (set classes, model classes) float32, P(set class | model class); see `merge_matrix`.
    weights: (set classes,) float32, the weight of each set class in the loss.
    """

    merge: Tensor
    weights: Tensor


def balanced_weights(pixel_shares: F32) -> F32:
    """(classes,) float32: square root of median frequency over frequency, bounded; 0 for classes that never occur.

    Source: SegNet's median frequency balancing (Badrinarayanan et al., 2017), softened by the root.
    """
    present = pixel_shares > 0
    weights = np.sqrt(np.median(pixel_shares[present]) / np.maximum(pixel_shares, 1e-9))
    return np.where(present, np.clip(weights, LIGHTEST, HEAVIEST), 0).astype(np.float32)


def set_loss(settings: SetSettings, pixel_shares: F32, recipe: Recipe) -> SetLoss:
    """Merge matrix and class weights of one set. A set class gets the largest `emphasis` of its model classes.

    Set classes of the same meaning count as one: of 80 kinds of things that are all background, none is rare.
    """
    merge = merge_matrix(settings, recipe.classes)
    group = np.unique(merge > 0, axis=0, return_inverse=True)[1].reshape(-1)
    pixel_shares = np.bincount(group, pixel_shares)[group].astype(np.float32)
    factors = np.array([recipe.emphasis.get(name, 1.0) for name in recipe.classes], np.float32)
    own_name = [name in recipe.classes for name in settings.classes]
    emphasis = np.where(own_name, ((merge > 0) * factors).max(axis=1), 1)
    covered = merge.sum(axis=1) > 0
    weights = balanced_weights(pixel_shares) * emphasis * covered
    return SetLoss(torch.from_numpy(merge), torch.from_numpy(weights.astype(np.float32)))


def class_weights(data: TrainingSets, losses: Sequence[SetLoss]) -> list[float]:
    """The weight of each model class in the loss, for `Checkpoint.rebalanced`: the mean over sets with exactly these classes.

    Sets count by their share. The weight is 1 for a class that never occurs, and for all where no set has exactly these classes.
    """
    total, seen = torch.zeros(len(data.recipe.classes)), torch.zeros(len(data.recipe.classes))
    for data_set, loss, share in zip(data.sets, losses, data.shares, strict=True):
        if data_set.settings.classes == data.recipe.classes:
            occurs = loss.weights.cpu() > 0
            total += share * torch.where(occurs, loss.weights.cpu(), 0)
            seen += share * occurs
    return [float(weight) for weight in torch.where(seen > 0, total / seen.clamp(min=1e-9), 1)]


def merged_loss(logits: Tensor, labels: Tensor, origins: Sequence[int], sets: Sequence[SetLoss]) -> Tensor:
    """Weighted mean over all labelled pixels of -log(sum over model classes of merge * softmax).

    logits: (N, C, h, w) float32. labels: (N, h, w) uint8, each image in the classes of its set `origins[n]`, 255 void.
    Returns a scalar; 0 when no pixel is labelled.
    """
    total, weight = logits.new_zeros(()), logits.new_zeros(())
    for index in sorted(set(origins)):
        loss, rows = sets[index], [row for row, origin in enumerate(origins) if origin == index]
        targets = labels[rows].long()
        log_merged = _log_merged(logits[rows], loss.merge)
        # Void pixels get class 0 with weight 0: `gather` needs valid indices.
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


class InstanceLoss(NamedTuple):
    """Scalars, of the heat map and of the offsets."""

    centre: Tensor
    offset: Tensor


def surface_loss(logits: Tensor, surface: Tensor) -> Tensor:
    """Weighted cross-entropy; 0 if all is unknown. logits: (N, 3, h, w) float32. surface: (N, h, w) uint8, 255 unknown."""
    known = surface != VOID_CLASS
    if not known.any():
        return logits.sum() * 0
    weights = torch.tensor(SURFACE_WEIGHTS, device=logits.device)
    return functional.cross_entropy(logits, surface.long(), weights, ignore_index=VOID_CLASS)


def instance_loss(maps: Tensor, targets: Tensor) -> InstanceLoss:
    """maps: (N, 3, h, w) float32, centre logit, dx, dy. targets: (N, 5, h, w) as in `Batch.instances`.

    The heat map has the focal loss of CenterNet (Zhou et al., 2019, equation 1) per known object: hard cells count most, and
    cells near a centre count little. The offsets have the mean absolute error over the cells of objects.
    """
    heat, offsets, is_sure, is_object = targets[:, 0], targets[:, 1:3], targets[:, 3], targets[:, 4]
    found = torch.sigmoid(maps[:, 0])
    is_centre = (heat == 1).float() * is_sure
    hit = -functional.logsigmoid(maps[:, 0]) * (1 - found) ** 2 * is_centre
    false = -functional.logsigmoid(-maps[:, 0]) * found**2 * (1 - heat) ** 4 * is_sure * (1 - is_centre)
    centre = (hit + false).sum() / is_centre.sum().clamp(min=1)
    distance = (maps[:, 1:3] - offsets).abs() * is_object[:, None]
    return InstanceLoss(centre, distance.sum() / (2 * is_object.sum()).clamp(min=1))


def held_out_loss(net: Net, data: TrainingSets, losses: Sequence[SetLoss]) -> float:
    """The class loss of `net` on whole frames at its input size, which shows over-fitting first: the mean over held-out images,
    NaN without any."""
    values = []
    device = next(net.parameters()).device
    fill = InputFiller(data.recipe.input)
    for index, data_set in enumerate(data.sets):
        stride = math.ceil(len(data_set.held_out) / MOST_HELD_OUT) or 1
        for sample in data_set.held_out[::stride]:
            tensor, geometry = fill(sample.image)
            label = in_net(sample.label, geometry, 2)
            with torch.inference_mode():
                logits = net(normalised(torch.from_numpy(np.asarray(tensor, np.uint8)).to(device)))["semantic"]
                labels = torch.from_numpy(label)[None].to(device)
                values.append(float(merged_loss(upsampled(logits.float(), net.semantic_step // 2), labels, (index,), losses)))
    return float(np.mean(values)) if values else float("nan")


def in_net(label: U8, geometry: Fit, stride: int) -> U8:
    """(H, W) uint8 labels of a frame → their place in the network's input, at 1 / stride of its size; padding is void."""
    width, height = geometry.content.width // stride, geometry.content.height // stride
    left, top = geometry.left // stride, geometry.top // stride
    placed = np.full((geometry.net.height // stride, geometry.net.width // stride), VOID_CLASS, np.uint8)
    placed[top : top + height, left : left + width] = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
    return placed
