"""Composites: objects cut out of one labelled crop and pasted into another. Pure, as all augmentation is.

Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (CVPR 2021).
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from engines.datasets.folder import UNSURE_OBJECT, Sample

SMALLEST_SHARE = 0.002
"""Of the crop: what is smaller is a shred of an object, and teaches nothing."""
EDGE_SIGMA_PX = 0.8
"""The pasted outline is this soft: a hard one would be learned as the sign of a pasted object."""


def paste(base: Sample, donor: Sample, donor_ids: npt.NDArray[np.bool_], class_id: int) -> Sample:
    """`base` with the objects of `donor` in front of it; both are crops of one size. Returns new arrays, or `base` itself.

    donor_ids: (256,) bool, the donor's own class ids that are cut out. class_id: what they are in the base's classes.
    All that is cut out counts as one object. Where the donor is void beside it, nothing is pasted.
    """
    mask = donor_ids[donor.label]
    if mask.mean() < SMALLEST_SHARE:
        return base
    opacity = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), EDGE_SIGMA_PX)[..., None]
    image = base.image + opacity * (donor.image.astype(np.float32) - base.image)
    label = np.where(mask, np.uint8(class_id), base.label)
    surface = None if base.surface is None else np.where(mask, np.uint8(0), base.surface)
    instances = base.instances
    if instances is not None:
        ids = instances[instances != UNSURE_OBJECT]
        highest = int(ids.max(initial=0))
        new_id = highest + 1 if highest + 1 < UNSURE_OBJECT else UNSURE_OBJECT
        instances = np.where(mask, np.uint8(new_id), instances)
    return dataclasses.replace(
        base, image=np.rint(image).astype(np.uint8), label=label.astype(np.uint8), surface=surface, instances=instances
    )
