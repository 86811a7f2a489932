"""A recipe: everything that decides what a training run makes, as data.

The folder `recipes/` holds the recipes that come with the project; a path to any other TOML file works as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from engines.datasets.settings import FILE_NAME, SetSettings, check_settings
from engines.errors import did_you_mean, nearest
from engines.models.card import InputSpec
from engines.tables import checked
from engines.training.errors import TrainingError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).parent / "recipes"

OPEN_SIZE = (0, 0)

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class NetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of the net. Defaults make about one million parameters."""

    width: Positive = 1.0
    """Scales every channel count below; cost grows with its square."""
    channels: tuple[Count, Count, Count, Count] = (32, 64, 192, 384)
    """Encoder channels at 1/4, 1/8, 1/16 and 1/32. The fine levels cost the time, the coarse ones hold the knowledge."""
    depths: tuple[Count, Count, Count] = (2, 3, 2)
    """STDC blocks at 1/8, 1/16 and 1/32; more see further and learn more, and take longer."""
    top_down: tuple[Count, Count, Count] = (64, 48, 32)
    """Channels of the maps at 1/16, 1/8 and 1/4 on the way back up."""
    activation: str = "relu"
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    """Share of feature maps blanked before the head while training."""


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training image may differ from the one on disk. All ranges are drawn from evenly (scales: in the logarithm)."""

    crop_px: tuple[int, int] = (448, 320)
    """Width and height of what the net sees while training; multiples of 32."""
    scale: tuple[float, float] = (0.6, 1.8)
    """Relative to the size at which the model will see frames."""
    aspect: tuple[float, float] = (0.8, 1.25)
    """Stretch of the width against the height: cameras are 4:3 and 16:9, and both are stretched onto one input."""
    rotate_deg: NotNegative = 4.0
    flip: Share = 0.5
    """Probability of a mirror image."""
    brightness: NotNegative = 0.25
    """Added to all channels, as a share of full scale."""
    contrast: NotNegative = 0.4
    gamma: tuple[float, float] = (0.6, 1.8)
    white_balance: NotNegative = 0.15
    """Gain of each channel on its own: dusk, sodium lamps, cheap sensors."""
    saturation: NotNegative = 0.6
    hue_deg: NotNegative = 12.0
    blur: Share = 0.25
    """Probability of blur or loss of resolution."""
    noise: Share = 0.4
    """Probability of sensor noise."""
    noise_level: NotNegative = 12.0
    """Its largest standard deviation, in pixel units (0..255)."""


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how fast the net learns."""

    steps: Count
    batch: Count = 8
    learning_rate: NotNegative = 2e-3
    warm_up_steps: Annotated[int, msgspec.Meta(ge=0)] = 200
    """Steps over which the rate climbs from 0; AdamW's early steps are otherwise far too long."""
    poly_power: NotNegative = 0.9
    """The rate falls with (1 - progress) to this power."""
    weight_decay: NotNegative = 0.02
    """L2: on weights of convolutions only, since decaying norms and biases merely rescales the maps."""
    l1: NotNegative = 0.0
    """L1: the sum of absolute convolution weights times this is added to the loss; it drives the useless ones to 0."""
    gradient_clip: Positive = 5.0
    ema: Share = 0.998
    """Decay of the running mean of the weights, which is what is evaluated and exported."""
    evaluate_every: Count = 500
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    mixed_precision: bool = True
    """Half precision where the device computes it natively: GPUs, and processors with bf16 (avx512_bf16, AMX); else ignored."""


class Composites(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Objects cut out of one set and pasted into crops of all: crowds where photographs show one person, and new backgrounds."""

    source: str
    """The set whose objects are cut out."""
    cls: str = msgspec.field(name="class")
    """The model's class that is cut out."""
    share: Share = 0.5
    """Probability that a crop gets any."""
    most: Count = 2
    """At most so many objects a crop."""
    scale: tuple[float, float] = (0.4, 1.2)
    """Their size relative to what `augmentation.scale` 1 would give."""

    def augmentation(self, of_crops: Augmentation) -> Augmentation:
        """How what is cut out is varied: as the crops are, in its own range of sizes."""
        return msgspec.structs.replace(of_crops, scale=self.scale)


class TaskWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much each further task counts beside the classes, whose loss has weight 1."""

    surface: NotNegative = 0.4
    centre: NotNegative = 0.15
    offset: NotNegative = 0.4


class Teacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trained model that labels images nobody labelled, for `teach`."""

    means: Mapping[str, tuple[str, ...]]
    """Its class -> the model's classes it covers; of several, the first. A class that is left out teaches nothing."""
    weight: Positive = 1.0
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
    emphasis: Mapping[str, NotNegative] = {}
    """Class -> factor on its weight in the loss, beyond the balance by frequency."""
    rebalance: Share = 0.0
    """Share (0..1) of the class weights' logarithm that is taken off the logits at export; see `rebalance.py`."""
    card: Mapping[str, Any] = {}

    @property
    def input(self) -> InputSpec:
        """The exported model's input: bytes of a frame. Normalisation is in the graph, so mean and std are none."""
        return InputSpec("image", self.input_px, "nhwc", "uint8", "bgr", self.fit)


def read_recipe(name_or_path: str) -> Recipe:
    """The recipe of that name in `recipes/`, or in that TOML file. Raises TrainingError that names the key at fault."""
    return recipe_from_dict(*_read(name_or_path, Path(), ()))


def _read(name_or_path: str, beside: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], str]:
    """The facts of a recipe, those of what it is based on below them, and where they stand.

    beside: the folder that a relative path is seen from. above: the files that are based on this one.
    """
    path = beside / Path(name_or_path).expanduser() if name_or_path.endswith(".toml") else RECIPES / f"{name_or_path}.toml"
    if path in above:
        raise TrainingError(f"{path}: is based on itself; name another recipe in based_on")
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = sorted(entry.stem for entry in RECIPES.glob("*.toml"))
        raise TrainingError(
            f'no recipe "{name_or_path}"; write a path that ends in .toml or one of: {", ".join(known)}'
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8 or not TOML; 10,000 brackets
        raise TrainingError(f"{path}: cannot be read as a recipe ({error})") from error
    if "based_on" in facts:
        base = facts.pop("based_on")
        if not isinstance(base, str):
            raise TrainingError(f"{path}: based_on is {base}; write the name of a recipe, or a path that ends in .toml")
        base_facts, base_path = _read(base, path.parent, (*above, path))
        facts = _laid_over(recipe_to_dict(recipe_from_dict(base_facts, base_path)), facts)
    return facts, str(path)


def _laid_over(base: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `facts` over it: tables key by key, all else whole."""
    tables = [key for key, value in facts.items() if isinstance(value, dict) and isinstance(base.get(key), dict)]
    return {**base, **facts, **{key: _laid_over(base[key], facts[key]) for key in tables}}


def recipe_from_dict(facts: Mapping[str, Any], where: str) -> Recipe:
    """Check `facts` and freeze them. `where` names their origin in error texts. Raises TrainingError, and DataError for a set."""
    recipe = checked(facts, Recipe, where, TrainingError)
    check_recipe(recipe, where)
    return recipe


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain dicts, lists and numbers: what a checkpoint keeps of it, and `recipe_from_dict` takes back."""
    plain: dict[str, Any] = msgspec.to_builtins(recipe)
    return plain


def for_export(trained: Recipe, newer: Recipe) -> Recipe:
    """`trained` with what `newer` says of the only things that may change once the net has learned: the card and `rebalance`."""
    return msgspec.structs.replace(trained, card=newer.card, rebalance=newer.rebalance)


def check_recipe(recipe: Recipe, where: str) -> None:
    """Raises TrainingError or DataError for what does not fit together. Classes left open are checked once they are known."""
    if len(set(recipe.classes)) < len(recipe.classes):
        raise TrainingError(f"{where}: a class is named twice in {list(recipe.classes)}")
    if "instances" in recipe.heads and not recipe.things:
        raise TrainingError(f'{where}: the head "instances" needs to know which classes are countable; name them in `things`')
    for key, size_px in (("input_px", recipe.input_px), ("augmentation.crop_px", recipe.augmentation.crop_px)):
        if any(side < 32 or side % 32 for side in size_px) and (key, size_px) != ("input_px", OPEN_SIZE):
            raise TrainingError(f"{where}: {key} is {list(size_px)}; both sides must be multiples of 32")
    crops, pasted = recipe.augmentation, recipe.composites
    ranges = {"augmentation.scale": crops.scale, "augmentation.aspect": crops.aspect, "augmentation.gamma": crops.gamma}
    for key, (low, high) in {**ranges, **({"composites.scale": pasted.scale} if pasted else {})}.items():
        if not 0 < low <= high:
            raise TrainingError(f"{where}: {key} is {[low, high]}; write two numbers above 0, the smaller first")
    if recipe.classes:
        _check_classes(recipe, where)


def _check_classes(recipe: Recipe, where: str) -> None:
    """Every name of a class must be one of the model's."""
    if recipe.output == "alpha" and len(recipe.classes) != 2:
        raise TrainingError(
            f'{where}: output "alpha" is the opacity of the second of two classes; there are {len(recipe.classes)}'
        )
    named = {"things": recipe.things, "emphasis": tuple(recipe.emphasis)}
    if recipe.composites:
        named["composites.class"] = (recipe.composites.cls,)
    for title, teacher in recipe.teachers.items():
        named[f"teachers.{title}.means"] = tuple(target for targets in teacher.means.values() for target in targets)
    for key, names in named.items():
        for name in names:
            _known(name, recipe.classes, f"{where}: {key}")
    for data_set in recipe.sets:
        check_means(data_set, recipe.classes, f'{where}: set "{data_set.name}"')


def check_means(settings: SetSettings, model_classes: tuple[str, ...], where: str) -> None:
    """Every class of the set must be one of the model's, or say what it means. Raises TrainingError or DataError."""
    check_settings(settings, where)
    for name, targets in settings.means.items():
        for target in targets:
            _known(target, model_classes, f"{where}, means.{name}")
    for name in settings.classes:
        if name not in settings.means and name not in model_classes:
            near = nearest(name, model_classes)
            hint = f'did you mean "{near}"?' if near else f"it has {', '.join(model_classes)}"
            raise TrainingError(
                f'{where}: the model has no class "{name}" ({hint}); say under [means] in its {FILE_NAME} what it covers, '
                f'as in "{name}" = ["{near or model_classes[0]}"], or [] for none of them'
            )


def _known(name: str, names: tuple[str, ...], where: str) -> None:
    if name not in names:
        hint = did_you_mean(name, names) or f"; known: {', '.join(names)}"
        raise TrainingError(f'{where}: unknown class "{name}"{hint}')
