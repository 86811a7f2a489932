"""A recipe: everything that decides what a training run makes, as data.

The folder `recipes/` holds the recipes that come with the project; a path to any other TOML file works as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engines.card import InputSpec
from engines.datasets.settings import SetSettings, check_settings
from engines.nearest import did_you_mean
from engines.training.errors import TrainingError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).parent / "recipes"

OPEN_SIZE = (0, 0)


class NetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of the net. Defaults make about one million parameters."""

    width: float = 1.0
    """Scales every channel count below; cost grows with its square."""
    channels: tuple[int, int, int, int] = (32, 64, 192, 384)
    """Encoder channels at 1/4, 1/8, 1/16 and 1/32. The fine levels cost the time, the coarse ones hold the knowledge."""
    depths: tuple[int, int, int] = (2, 3, 2)
    """STDC blocks at 1/8, 1/16 and 1/32; more see further and learn more, and take longer."""
    top_down: tuple[int, int, int] = (64, 48, 32)
    """Channels of the maps at 1/16, 1/8 and 1/4 on the way back up."""
    activation: str = "relu"
    dropout: float = 0.1
    """Share of feature maps blanked before the head while training."""


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training image may differ from the one on disk. All ranges are drawn from evenly (scales: in the logarithm)."""

    crop_px: tuple[int, int] = (448, 320)
    """Width and height of what the net sees while training; multiples of 32."""
    scale: tuple[float, float] = (0.6, 1.8)
    """Relative to the size at which the model will see frames."""
    aspect: tuple[float, float] = (0.8, 1.25)
    """Stretch of the width against the height: cameras are 4:3 and 16:9, and both are stretched onto one input."""
    rotate_deg: float = 4.0
    flip: float = 0.5
    """Probability of a mirror image."""
    brightness: float = 0.25
    """Added to all channels, as a share of full scale."""
    contrast: float = 0.4
    gamma: tuple[float, float] = (0.6, 1.8)
    white_balance: float = 0.15
    """Gain of each channel on its own: dusk, sodium lamps, cheap sensors."""
    saturation: float = 0.6
    hue_deg: float = 12.0
    blur: float = 0.25
    """Probability of blur or loss of resolution."""
    noise: float = 0.4
    """Probability of sensor noise."""
    noise_level: float = 12.0
    """Its largest standard deviation, in pixel units (0..255)."""


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how fast the net learns."""

    steps: int
    batch: int = 8
    learning_rate: float = 2e-3
    warm_up_steps: int = 200
    """Steps over which the rate climbs from 0; AdamW's early steps are otherwise far too long."""
    poly_power: float = 0.9
    """The rate falls with (1 - progress) to this power."""
    weight_decay: float = 0.02
    """L2: on weights of convolutions only, since decaying norms and biases merely rescales the maps."""
    l1: float = 0.0
    """L1: the sum of absolute convolution weights times this is added to the loss; it drives the useless ones to 0."""
    gradient_clip: float = 5.0
    ema: float = 0.998
    """Decay of the running mean of the weights, which is what is evaluated and exported."""
    evaluate_every: int = 500
    seed: int = 1
    mixed_precision: bool = True
    """Half precision where the device computes it natively: GPUs, and processors with bf16 (avx512_bf16, AMX); else ignored."""


class Composites(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Objects cut out of one set and pasted into crops of all: crowds where photographs show one person, and new backgrounds."""

    source: str
    """The set whose objects are cut out."""
    cls: str = msgspec.field(name="class")
    """The model's class that is cut out."""
    share: float = 0.5
    """Probability that a crop gets any."""
    most: int = 2
    """At most so many objects a crop."""
    scale: tuple[float, float] = (0.4, 1.2)
    """Their size relative to what `augmentation.scale` 1 would give."""

    def augmentation(self, of_crops: Augmentation) -> Augmentation:
        """How what is cut out is varied: as the crops are, in its own range of sizes."""
        return msgspec.structs.replace(of_crops, scale=self.scale)


class TaskWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much each further task counts beside the classes, whose loss has weight 1."""

    surface: float = 0.4
    centre: float = 0.15
    offset: float = 0.4


class Teacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trained model that labels images nobody labelled, for `teach`."""

    means: Mapping[str, tuple[str, ...]]
    """Its class -> the model's classes it covers; of several, the first. A class that is left out teaches nothing."""
    weight: float = 1.0
    """How much its opinion counts beside the other teachers'."""
    brighten: bool = False
    """Ask it about the frame as the net will see it: dark ones brightened."""
    mirror: bool = False
    """Ask it about the mirror image too, and average."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. `card` holds what the exported model's card says beyond what can be measured."""

    name: str
    classes: tuple[str, ...]
    input_px: tuple[int, int]
    """Width and height of the exported model's input; [0, 0]: as large as the images are, within reason."""
    schedule: Schedule
    fit: Literal["stretch", "letterbox"] = "stretch"
    """How a frame meets it: stretched uses every pixel, a letterbox keeps shapes, which people's tell more than cars'."""
    sets: tuple[SetSettings, ...] = ()
    """Sets that the recipe knows by their folder's name; what a folder's own dataset.toml says is overruled by it."""
    things: tuple[str, ...] = ()
    """Classes that come as countable objects."""
    heads: tuple[Literal["surface", "instances"], ...] = ()
    """Tasks beside the classes: the road's surface (drivable, lane lines); centres of objects and offsets towards them."""
    output: Literal["labels", "alpha"] = "labels"
    """What the exported model gives: the class of each pixel, or, with two classes, the opacity of the second."""
    net: NetSettings = NetSettings()
    augmentation: Augmentation = Augmentation()
    composites: Composites | None = None
    task_weights: TaskWeights = TaskWeights()
    teachers: Mapping[str, Teacher] = {}
    """By the name in the teacher's card."""
    emphasis: Mapping[str, float] = {}
    """Class -> factor on its weight in the loss, beyond the balance by frequency."""
    rebalance: float = 0.0
    """Share (0..1) of the class weights' logarithm that is taken off the logits at export; see `rebalance.py`."""
    card: Mapping[str, Any] = {}

    @property
    def input(self) -> InputSpec:
        """The exported model's input: bytes of a frame. Normalisation is in the graph, so mean and std are none."""
        return InputSpec("image", self.input_px, "nhwc", "uint8", "bgr", self.fit)


def read_recipe(name_or_path: str) -> Recipe:
    """The recipe of that name in `recipes/`, or in that TOML file. Raises TrainingError that names the key at fault."""
    path = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES / f"{name_or_path}.toml"
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = sorted(entry.stem for entry in RECIPES.glob("*.toml"))
        raise TrainingError(
            f'no recipe "{name_or_path}"; write a path that ends in .toml or one of: {", ".join(known)}'
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read as a recipe ({error})") from error
    base = facts.pop("based_on", None)
    if isinstance(base, str):
        facts = _laid_over(recipe_to_dict(read_recipe(base)), facts)
    return recipe_from_dict(facts, str(path))


def _laid_over(base: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `facts` over it: tables key by key, all else whole."""
    both = {key: _laid_over(base[key], value) for key, value in facts.items() if isinstance(value, dict) and key in base}
    return {**base, **facts, **both}


def recipe_from_dict(facts: Mapping[str, Any], where: str) -> Recipe:
    """Check `facts` and freeze them. `where` names their origin in error texts. Raises TrainingError."""
    try:
        recipe = msgspec.convert(facts, Recipe)
    except msgspec.ValidationError as error:
        raise TrainingError(f"{where}: {error}") from error
    _check(recipe, where)
    return recipe


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain dicts, lists and numbers: what a checkpoint keeps of it, and `recipe_from_dict` takes back."""
    plain: dict[str, Any] = msgspec.to_builtins(recipe)
    return plain


def _check(recipe: Recipe, where: str) -> None:
    if len(set(recipe.classes)) < len(recipe.classes):
        raise TrainingError(f"{where}: a class is named twice in {list(recipe.classes)}")
    if recipe.output == "alpha" and len(recipe.classes) != 2:
        raise TrainingError(
            f'{where}: output "alpha" is the opacity of the second of two classes; there are {len(recipe.classes)}'
        )
    for name in recipe.things:
        _known(name, recipe.classes, f"{where}: things")
    if "instances" in recipe.heads and not recipe.things:
        raise TrainingError(f'{where}: the head "instances" needs to know which classes are countable; name them in `things`')
    if recipe.composites:
        _known(recipe.composites.cls, recipe.classes, f"{where}: composites.class")
    for title, teacher in recipe.teachers.items():
        for targets in teacher.means.values():
            for target in targets:
                _known(target, recipe.classes, f"{where}: teachers.{title}.means")
    for key, size_px in (("input_px", recipe.input_px), ("augmentation.crop_px", recipe.augmentation.crop_px)):
        if any(side < 32 or side % 32 for side in size_px) and (key, size_px) != ("input_px", OPEN_SIZE):
            raise TrainingError(f"{where}: {key} is {list(size_px)}; both sides must be multiples of 32")
    if min(recipe.schedule.steps, recipe.schedule.batch, recipe.schedule.evaluate_every) < 1:
        raise TrainingError(f"{where}: schedule.steps, batch and evaluate_every must be 1 or more")
    if not 0 <= recipe.rebalance <= 1:
        raise TrainingError(f"{where}: rebalance is {recipe.rebalance}; it must lie between 0 and 1")
    for name in recipe.emphasis:
        _known(name, recipe.classes, f"{where}: emphasis")
    for data_set in recipe.sets:
        check_means(data_set, recipe.classes, f'{where}: set "{data_set.name}"')


def check_means(settings: SetSettings, model_classes: tuple[str, ...], where: str) -> None:
    """Every class of the set must be one of the model's, or say what it means. Raises TrainingError that names it."""
    check_settings(settings, where)
    for name, targets in settings.means.items():
        for target in targets:
            _known(target, model_classes, f"{where}, means.{name}")
    for name in settings.classes:
        if name not in settings.means:
            _known(name, model_classes, f"{where}, class without an entry in means")


def _known(name: str, names: tuple[str, ...], where: str) -> None:
    if name not in names:
        hint = did_you_mean(name, names) or f"; known: {', '.join(names)}"
        raise TrainingError(f'{where}: unknown class "{name}"{hint}')
