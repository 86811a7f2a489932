"""Augmentation: one labelled image to one crop, different each time; objects pasted from crop to crop; dark frames brightened.

Pure: everything random comes from the given generator. Geometry is one warp of image and labels straight into the crop; colour is
one look-up table and one HSV pass: 2 to 3 ms per crop.
"""

import dataclasses
import math

import cv2
import numpy as np

from engines.datasets.folder import UNSURE_OBJECT, Sample
from engines.models.card import InputSpec
from engines.models.fit import fit
from engines.training.recipe import Augmentation
from engines.types import F64, U8, VOID_CLASS, Bools, Size

BORDER_BGR = (114, 114, 114)
SMALLEST_SHARE = 0.002
"""Of the crop. Smaller objects are fragments, and teach nothing."""
EDGE_SIGMA_PX = 0.8
"""Blur of a pasted outline. The net would learn a hard edge as the sign of a pasted object."""
JPEG_QUALITY = (12, 60)
DARK_GREY, LARGEST_GAIN = 90.0, 1.8
"""A frame with a mean below the first is brightened up to it, by a factor of the second at most. On CamVid's clip at dusk
(mean 59) it is worth two points of mIoU, mostly of trees, pedestrians and bicyclists; frames by day stay as they are."""


def augment(sample: Sample, spec: InputSpec, settings: Augmentation, rng: np.random.Generator) -> Sample:
    """A random crop of a labelled image, warped and recoloured; the labels of all tasks are warped with it.

    spec: how frames are fitted to the input when the model is used; scale 1 is that size. Returns new arrays of
    `settings.crop_px`. Outside the image the label is void, the surface is 0 and objects are unsure.
    """
    content = fit(Size.of(sample.image), spec.size, spec.fit).content
    matrix = random_warp(Size.of(sample.image), content, settings, rng)
    crop = cv2.warpAffine(sample.image, matrix, settings.crop_px, flags=cv2.INTER_LINEAR, borderValue=BORDER_BGR)
    label = _warped(sample.label, matrix, settings, VOID_CLASS)
    surface = None if sample.surface is None else _warped(sample.surface, matrix, settings, 0)
    instances = None if sample.instances is None else _warped(sample.instances, matrix, settings, UNSURE_OBJECT)
    return Sample(sample.name, recoloured(np.asarray(crop, np.uint8), settings, rng), label, surface, instances)


def _warped(label: U8, matrix: F64, settings: Augmentation, outside: int) -> U8:
    warped = cv2.warpAffine(label, matrix, settings.crop_px, flags=cv2.INTER_NEAREST, borderValue=(outside,))
    return np.asarray(warped, np.uint8)


def random_warp(image: Size, content: Size, settings: Augmentation, rng: np.random.Generator) -> F64:
    """The (2, 3) matrix from image pixels to crop pixels: scale, aspect, flip, rotation and a random position.

    content: the size of the image in the network's input at scale 1.
    """
    image_px = np.array((image.width, image.height), np.float64)
    scale = math.exp(rng.uniform(*np.log(settings.scale)))
    stretch = math.exp(rng.uniform(*np.log(settings.aspect)) / 2)
    scales = np.array((scale * stretch * content.width, scale / stretch * content.height)) / image_px
    mirror = -1.0 if rng.random() < settings.flip else 1.0
    turn = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = rotation @ np.diag(scales * (mirror, 1.0))
    # The crop stays inside the image; where the image is the smaller of the two, the image stays inside the crop.
    room = np.abs(scales * image_px - settings.crop_px) / 2
    place = np.array(settings.crop_px) / 2 + rng.uniform(-room, room)
    return np.column_stack((linear, place - linear @ (image_px / 2)))


def recoloured(image: U8, settings: Augmentation, rng: np.random.Generator) -> U8:
    """(H, W, 3) uint8 BGR as another camera at another hour might show it; a new array."""
    hue = rng.uniform(-settings.hue_deg, settings.hue_deg) / 2  # OpenCV counts hue in steps of 2 degrees
    saturation = math.exp(rng.uniform(-settings.saturation, settings.saturation))
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    steps = np.arange(256)
    tables = np.stack(((steps + hue) % 180, np.clip(steps * saturation, 0, 255), steps), axis=-1).astype(np.uint8)
    turned = cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2BGR)
    coloured = cv2.LUT(turned, _tone_tables(settings, rng)[None])
    if rng.random() < settings.blur:
        coloured = _blurred(np.asarray(coloured, np.uint8), rng)
    if rng.random() < settings.noise:
        coloured = _noisy(np.asarray(coloured, np.uint8), settings.noise_level, rng)
    if settings.jpeg and rng.random() < settings.jpeg:  # no draw without it: other recipes' batches stay what they were
        coloured = _compressed(np.asarray(coloured, np.uint8), rng)
    return np.asarray(coloured, np.uint8)


def _tone_tables(settings: Augmentation, rng: np.random.Generator) -> U8:
    """(256, 3) uint8: gamma, contrast, brightness and white balance in one look-up table."""
    gamma = math.exp(rng.uniform(*np.log(settings.gamma)))
    contrast = math.exp(rng.uniform(-settings.contrast, settings.contrast))
    brightness = rng.uniform(-settings.brightness, settings.brightness)
    gains = np.exp(rng.uniform(-settings.white_balance, settings.white_balance, 3))
    tones = (np.linspace(0, 1, 256) ** gamma - 0.5) * contrast + 0.5 + brightness
    return np.asarray(np.clip(tones[:, None] * gains * 255, 0, 255), np.uint8)


def _blurred(image: U8, rng: np.random.Generator) -> U8:
    """Defocus, motion blur or enlargement from fewer pixels, one of the three."""
    height, width = image.shape[:2]
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8)), np.uint8)
    if kind == 1:
        return np.asarray(cv2.blur(image, (int(rng.integers(2, 8)), 1)), np.uint8)
    factor = rng.uniform(0.35, 0.8)
    small = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _noisy(image: U8, level: float, rng: np.random.Generator) -> U8:
    """Gaussian noise, the same in all channels or independent in each."""
    height, width = image.shape[:2]
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((height, width, channels), np.float32) * np.float32(rng.uniform(0, level))
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def _compressed(image: U8, rng: np.random.Generator) -> U8:
    quality = int(rng.integers(*JPEG_QUALITY))
    encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def paste(base: Sample, donor: Sample, donor_ids: Bools, class_id: int) -> Sample:
    """`base` with the objects of `donor` in front of it; both are crops of one size. Returns new arrays, or `base` itself.

    donor_ids: (256,) bool, the class ids to cut out, in the donor's classes. class_id: their class in the base's classes.
    All pasted pixels count as one object. Void pixels of the donor are not pasted, and where its objects are labelled, pixels of
    none of them are not either.
    Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (CVPR 2021).
    """
    mask = donor_ids[donor.label]
    if donor.instances is not None:
        mask = mask & (donor.instances > 0)
    if mask.mean() < SMALLEST_SHARE:
        return base
    opacity = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), EDGE_SIGMA_PX)[..., None]
    image = base.image + opacity * (donor.image.astype(np.float32) - base.image)
    label = np.where(mask, np.uint8(class_id), base.label)
    surface = None if base.surface is None else np.where(mask, np.uint8(0), base.surface)
    instances = base.instances
    if instances is not None:
        highest = int(instances[instances != UNSURE_OBJECT].max(initial=0))
        instances = np.where(mask, np.uint8(min(highest + 1, UNSURE_OBJECT)), instances)
    return dataclasses.replace(
        base, image=np.rint(image).astype(np.uint8), label=label.astype(np.uint8), surface=surface, instances=instances
    )


def exposed_image(image: U8) -> U8:
    """(H, W, 3) uint8 → the same, brightened if dark: `model.exposed` for one image, rounded, without torch. A new array."""
    gain = np.clip(DARK_GREY / max(1.0, float(image.mean())), 1.0, LARGEST_GAIN)
    return np.asarray(np.clip(np.rint(image * np.float32(gain)), 0, 255), np.uint8)
