"""The pictures of docs/how-it-works.md, made by the project's code from a street that it draws itself.

python docs/pictures/make.py [FOLDER]      all of them, into this folder or another one; needs the extra `train`
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from engines.datasets.folder import Sample
from engines.models.card import InputSpec
from engines.training.augment import augment, paste
from engines.training.data import CELL_PX, OFFSET_SCALE_PX, instance_targets
from engines.training.model import SegmentationNet
from engines.training.recipe import Augmentation, NetSettings
from engines.types import F32, U8, VOID_CLASS, Image, Size
from realtime.render.palette import bgr_table, named_colours
from realtime.render.text import label
from realtime.sources.street.scene import Street  # without the time stamp of a source, so that pictures do not change

MEASURED = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "ablations.json"
SIZE_PX = (640, 384)
GAP_PX = 6
PAPER_BGR = (255, 255, 255)
OPACITY = 0.45
EDGE = ((-1, 0, 1), (-1, 0, 1), (-1, 0, 1))
"""Dark on the left, bright on the right: the first weights in the document."""
EDGE_BIAS = -40

NEUTRAL = Augmentation(
    crop_px=(320, 192), scale=(1, 1), aspect=(1, 1), rotate_deg=0, flip=0, brightness=0, contrast=0, gamma=(1, 1),
    white_balance=0, saturation=0, hue_deg=0, blur=0, noise=0,
)  # fmt: skip
"""Changes only the size."""
DEFAULTS = {**msgspec.structs.asdict(Augmentation()), "crop_px": NEUTRAL.crop_px}
EFFECTS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "as it is": ({}, 0),
    "flip": ({"flip": 1.0}, 0),
    "rotate_deg": ({"rotate_deg": 15.0}, 1),
    "scale": ({"scale": (1.8, 1.8)}, 4),
    "aspect": ({"aspect": (0.8, 0.8)}, 0),
    "gamma": ({"gamma": (2.2, 2.2)}, 0),
    "brightness, contrast": ({"brightness": 0.25, "contrast": 0.4}, 3),
    "hue, saturation, white": ({"hue_deg": 12.0, "saturation": 0.6, "white_balance": 0.15}, 6),
    "blur": ({"blur": 1.0}, 7),
    "noise": ({"noise": 1.0, "noise_level": 30.0}, 1),
}
"""The tiles: the keys that differ from NEUTRAL, and a seed that shows the effect well."""


def street(seed: int = 5, objects: int = 14) -> tuple[Sample, tuple[str, ...]]:
    """A drawn frame with its true classes and objects, and the names of the classes."""
    scene = Street(Size(*SIZE_PX), objects, seed)
    truth = scene.truth(0)
    return Sample("street", scene.draw(0), truth.class_map, None, truth.label_map), truth.class_names


def overlaid(image: Image, classes: U8, names: Sequence[str]) -> U8:
    """`image` with its classes in their colours; void stays as it is."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(names)] = bgr_table(named_colours(names))
    blended = cv2.addWeighted(image, 1 - OPACITY, table[classes], OPACITY, 0)
    return np.asarray(np.where((classes == VOID_CLASS)[..., None], image, blended), np.uint8)


def titled(image: Image, title: str) -> U8:
    """`image` with its title in the corner."""
    tile = np.array(image)
    patch = label(title, 15, (40, 40, 40))[:, : tile.shape[1]]
    tile[: patch.shape[0], : patch.shape[1]] = patch
    return tile


def grid(tiles: Sequence[Image], columns: int) -> U8:
    """Tiles of one size in rows, white between them."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    paper = np.full((rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX, 3), PAPER_BGR, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = (index // columns) * (height + GAP_PX), (index % columns) * (width + GAP_PX)
        paper[y : y + height, x : x + width] = tile
    return paper


def augmentation() -> U8:
    """One effect per tile, then a composite, then all effects at once with a recipe's defaults."""
    sample, names = street()
    spec = InputSpec("image", NEUTRAL.crop_px, "nhwc", "uint8", "bgr", "stretch")

    def made(settings: Augmentation, seed: int, of: Sample = sample) -> Sample:
        return augment(of, spec, settings, np.random.default_rng(seed))

    crops = {title: made(msgspec.structs.replace(NEUTRAL, **changes), seed) for title, (changes, seed) in EFFECTS.items()}
    is_car = np.arange(256) == names.index("car")
    donor = made(msgspec.structs.replace(NEUTRAL, scale=(1.2, 1.2)), 2, street(seed=8, objects=8)[0])
    crops["composite"] = paste(crops["as it is"], donor, is_car, names.index("car"))
    crops["all, drawn at random"] = made(msgspec.structs.replace(NEUTRAL, **DEFAULTS), 5)
    return grid([titled(overlaid(crop.image, crop.label, names), title) for title, crop in crops.items()], 4)


def convolution() -> U8:
    """The street in grey; the edge neuron's sum; max(0, .) of it; that averaged to a quarter of the size."""
    grey = cv2.resize(cv2.cvtColor(street()[0].image, cv2.COLOR_BGR2GRAY), (320, 192), interpolation=cv2.INTER_AREA)
    conv = nn.Conv2d(1, 1, 3, padding=1)
    conv.weight.data[0, 0], conv.bias.data[0] = torch.tensor(EDGE), EDGE_BIAS
    with torch.inference_mode():
        sums = conv(functional.pad(torch.from_numpy(grey).float()[None, None], (1, 1, 1, 1), "replicate"))[..., 1:-1, 1:-1]
        answers = torch.relu(sums)
        pooled = functional.avg_pool2d(answers, 4)
    enlarged = functional.interpolate(pooled, scale_factor=4.0)  # nearest: a square each
    tiles = {
        "x: the picture": cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR),
        "sum of W\u00b7x, + b: red above 0, blue below": signed(sums[0, 0].numpy()),
        "max(0, \u00b7)": signed(answers[0, 0].numpy()),
        "pooled: the mean of 4x4": signed(enlarged[0, 0].numpy()),
    }
    return grid([titled(tile, title) for title, tile in tiles.items()], 2)


def signed(values: F32) -> U8:
    """(H, W) float32 \u2192 white at 0, red above, blue below, full at 250."""
    strength = np.clip(np.abs(values) / 250, 0, 1)[..., None]
    colour = np.where((values > 0)[..., None], np.array((40, 40, 200)), np.array((200, 90, 30)))
    return np.asarray(np.rint(255 * (1 - strength) + colour * strength), np.uint8)


def sight_px(net: SegmentationNet, level: int) -> int:
    """The number of pixels of a row that can change a neuron of that level: where its gradient is not 0."""
    row = torch.randn(1, 3, 32, 2048, requires_grad=True)
    neurons = net.encoder(row)[level]
    neurons[0, :, 0, neurons.shape[3] // 2].sum().backward()
    assert row.grad is not None
    seen = row.grad.abs().sum(dim=(0, 1, 2)).nonzero()
    return int(seen.max() - seen.min()) + 1


def sight() -> U8:
    """The receptive field of one neuron at each level of the encoder, around a car."""
    torch.manual_seed(0)
    net = SegmentationNet(NetSettings(), 11).eval()
    sample, names = street()
    image = sample.image.copy()
    assert sample.instances is not None
    cars = np.where(sample.label == names.index("car"), sample.instances, 0)
    middle = cars[:, SIZE_PX[0] // 3 : -SIZE_PX[0] // 3]
    nearest = int(np.bincount(middle[middle > 0]).argmax())
    y, x = (int(places.mean()) for places in np.nonzero(cars == nearest))
    for level, colour in enumerate(((60, 220, 250), (90, 200, 60), (230, 150, 40), (200, 60, 200))):
        side = sight_px(net, level)
        left, top, right, bottom = x - side // 2, y - side // 2, x + side // 2, y + side // 2
        cv2.rectangle(image, (max(left, 1), max(top, 1)), (min(right, 638), min(bottom, 382)), colour, 2)
        patch = label(f"1/{4 << level}: {side} px", 15, colour)
        tag_y, tag_x = max(top, 1), min(max(left, 1), SIZE_PX[0] - patch.shape[1])
        if level == 0:
            tag_y += 14
        image[tag_y : tag_y + patch.shape[0], tag_x : tag_x + patch.shape[1]] = patch
    return image


def centres() -> U8:
    """The street, the heat map of its objects' centres, and the offsets: direction as hue, distance as saturation."""
    sample, names = street()
    is_thing = np.isin(sample.label, [names.index("person"), names.index("car")])
    targets = instance_targets(sample.instances, is_thing)
    image = np.asarray(cv2.resize(sample.image, (320, 192), interpolation=cv2.INTER_AREA), np.uint8)
    heat = cv2.resize(targets.heat, (320, 192), interpolation=cv2.INTER_LINEAR)[..., None]
    glowing = np.asarray(image * 0.35 * (1 - heat) + np.array((60, 220, 255)) * heat, np.uint8)
    dx, dy = targets.offsets
    hue = (np.degrees(np.arctan2(dy, dx)) % 360 / 2).astype(np.uint8)
    depth = np.clip(np.hypot(dx, dy) * OFFSET_SCALE_PX / CELL_PX * 25 + 60, 0, 255).astype(np.uint8)
    wheel = cv2.cvtColor(np.stack((hue, depth, np.full_like(hue, 235)), axis=-1), cv2.COLOR_HSV2BGR)
    wheel[~targets.is_object] = (60, 60, 60)
    way = np.asarray(cv2.resize(wheel, (320, 192), interpolation=cv2.INTER_NEAREST), np.uint8)
    return grid([titled(image, "the street"), titled(glowing, "a centre is here"), titled(way, "the way to mine")], 3)


def curves() -> U8:
    """Both losses over the steps, with augmentation and without: the first runs of benchmarks/ablations.py."""
    from matplotlib.figure import Figure

    runs = json.loads(MEASURED.read_text(encoding="utf-8"))["runs"]
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, (title, row) in zip(
        figure.subplots(1, 2, sharey=True),
        {"with augmentation": "base", "without": "no augmentation but the crop"}.items(),
        strict=True,
    ):
        curve = runs[row][0]["curve"]
        steps = [point["step"] for point in curve]
        axes.plot(steps, [point["loss"] for point in curve], color="#2e7bff", label="loss while training")
        axes.plot(steps, [point["held_out_loss"] for point in curve], color="#e5383b", label="loss on held-out images")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step")
        axes.set_ylim(0, 3)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    return np.asarray(cv2.imdecode(np.frombuffer(drawn.getvalue(), np.uint8), cv2.IMREAD_COLOR), np.uint8)


PICTURES: Mapping[str, Callable[[], U8]] = {
    "augmentation.jpg": augmentation,
    "convolution.jpg": convolution,
    "sight.jpg": sight,
    "centres.jpg": centres,
    "curves.png": curves,
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    for name, make in PICTURES.items():
        path = folder / name
        if not cv2.imwrite(str(path), make(), [cv2.IMWRITE_JPEG_QUALITY, 74] if path.suffix == ".jpg" else []):
            sys.exit(f"{path}: cannot be written. Name another folder")
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
