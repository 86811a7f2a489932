"""Augmentation: one labelled image to one crop, different each time. Pure: everything random comes from the given generator.

Geometry is one warp of image and label straight into the crop; colour is one look-up table and one HSV turn: 2 to 3 ms a crop.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from engines.training.recipe import Augmentation
from engines.types import U8, VOID_CLASS

F64 = npt.NDArray[np.float64]
BORDER_BGR = (114, 114, 114)


def augment(image: U8, label: U8, input_px: tuple[int, int], settings: Augmentation, rng: np.random.Generator) -> tuple[U8, U8]:
    """A random crop of a labelled image, warped and recoloured.

    image: (H, W, 3) uint8 BGR. label: (H, W) uint8. input_px: the size frames are stretched onto when the model is used;
    scale 1 is that. Returns (h, w, 3) uint8 BGR and (h, w) uint8 of `settings.crop_px`, new arrays; outside the image
    the label is void.
    """
    matrix = random_warp((label.shape[1], label.shape[0]), input_px, settings, rng)
    crop = cv2.warpAffine(image, matrix, settings.crop_px, flags=cv2.INTER_LINEAR, borderValue=BORDER_BGR)
    crop_label = cv2.warpAffine(label, matrix, settings.crop_px, flags=cv2.INTER_NEAREST, borderValue=(VOID_CLASS,))
    return recoloured(np.asarray(crop, np.uint8), settings, rng), np.asarray(crop_label, np.uint8)


def random_warp(image_px: tuple[int, int], input_px: tuple[int, int], settings: Augmentation, rng: np.random.Generator) -> F64:
    """The (2, 3) matrix from image pixels to crop pixels: scale, stretch, flip, rotation, and a random place."""
    scale = math.exp(rng.uniform(*np.log(settings.scale)))
    stretch = math.exp(rng.uniform(*np.log(settings.aspect)) / 2)
    x_scale = scale * stretch * input_px[0] / image_px[0]
    y_scale = scale / stretch * input_px[1] / image_px[1]
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
