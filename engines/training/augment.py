"""Augmentation: one labelled image to one crop, different each time. Pure: everything random comes from the given generator.

Geometry is one warp of image and label straight into the crop; colour is one look-up table and one HSV turn: 2 to 3 ms a crop.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from engines.datasets.folder import UNSURE_OBJECT, Sample
from engines.models.card import InputSpec
from engines.models.fit import fit
from engines.training.recipe import Augmentation
from engines.types import F64, U8, VOID_CLASS, Size

BORDER_BGR = (114, 114, 114)


def augment(sample: Sample, spec: InputSpec, settings: Augmentation, rng: np.random.Generator) -> Sample:
    """A random crop of a labelled image, warped and recoloured; its labels of all tasks are warped alike.

    spec: how frames meet the input when the model is used; scale 1 is that. Returns new arrays of
    `settings.crop_px`; outside the image the label is void, and no surface and no object is known.
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
    """The (2, 3) matrix from image pixels to crop pixels: scale, stretch, flip, rotation, and a random place.

    content: the size that the image has in the network's input at scale 1.
    """
    image_px = (image.width, image.height)
    scale = math.exp(rng.uniform(*np.log(settings.scale)))
    stretch = math.exp(rng.uniform(*np.log(settings.aspect)) / 2)
    x_scale = scale * stretch * content.width / image.width
    y_scale = scale / stretch * content.height / image.height
    mirror = -1.0 if rng.random() < settings.flip else 1.0
    turn = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    linear = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ np.diag(
        [mirror * x_scale, y_scale]
    )
    place = np.empty(2)
    for axis, scaled_px in enumerate((x_scale * image_px[0], y_scale * image_px[1])):
        # The image's centre goes where the crop lies inside the image; where the image is the smaller, inside the crop.
        room = abs(scaled_px - settings.crop_px[axis]) / 2
        place[axis] = settings.crop_px[axis] / 2 + rng.uniform(-room, room)
    centre = np.array(image_px, np.float64) / 2
    return np.column_stack((linear, place - linear @ centre))


def recoloured(image: U8, settings: Augmentation, rng: np.random.Generator) -> U8:
    """(H, W, 3) uint8 BGR as another camera at another hour might have seen it; a new array."""
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
    """Out of focus, shaken, or blown up from fewer pixels, one of the three."""
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
    """Gaussian noise, alike in all channels or of its own in each."""
    height, width = image.shape[:2]
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((height, width, channels), np.float32) * np.float32(rng.uniform(0, level))
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)
