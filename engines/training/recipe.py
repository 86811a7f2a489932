"""A recipe: all settings that decide the result of a training run, as data. `recipes/` has those that come with the project."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from engines.datasets.settings import FILE_NAME, SetSettings, check_settings
from engines.errors import choices, nearest
from engines.models.card import InputSpec
from engines.models.class_sets import class_set, expanded
from engines.tables import checked
from engines.training import TrainingError

OPEN_SIZE = (0, 0)
"""As `input_px`: about as large as the images."""

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class NetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of the net. The defaults have about one million parameters."""

    kind: Literal["stdc", "mobile"] = "stdc"
    """The encoder: "stdc" learns from nothing (model.py); "mobile" is MobileNetV2, for pretrained weights (mobile.py)."""
    width: Positive = 1.0
    """Scales every channel count below; cost grows with its square. Of "mobile" it scales the encoder alone: 0.5 or 1."""
    channels: tuple[Count, Count, Count, Count] = (32, 64, 192, 384)
    """Encoder channels at 1/4, 1/8, 1/16 and 1/32. Most time goes into fine levels, most parameters are in coarse ones."""
    frozen: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The first blocks of "mobile" that keep their pretrained weights, with the convolution before them: edges and colours."""
    depths: tuple[Count, Count, Count] = (2, 3, 2)
    """STDC blocks at 1/8, 1/16 and 1/32. More blocks see further, learn more and take longer."""
    top_down: Annotated[tuple[Count, ...], msgspec.Meta(min_length=2, max_length=3)] = (64, 48, 32)
    """Channels of the maps on the way back up: at 1/16, 1/8 and 1/4, or, of "mobile", at 1/8, 1/4 and, if wanted, 1/2."""
    activation: str = "relu"
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    """Share of feature maps set to zero before the head during training."""


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a training image may differ from its file. Ranges are sampled uniformly (scales: in the logarithm)."""

    crop_px: tuple[int, int] = (448, 320)
    """Width and height of training crops; multiples of 32."""
    scale: tuple[float, float] = (0.6, 1.8)
    """Relative to the size at which the model sees frames."""
    aspect: tuple[float, float] = (0.8, 1.25)
    """Stretch of the width relative to the height: cameras are 4:3 and 16:9, and both are stretched to one input."""
    rotate_deg: NotNegative = 4.0
    flip: Share = 0.5
    """Probability of a mirror image."""
    brightness: NotNegative = 0.25
    """Added to all channels, as a share of full scale."""
    contrast: NotNegative = 0.4
    gamma: tuple[float, float] = (0.6, 1.8)
    white_balance: NotNegative = 0.15
    """Gain per channel: dusk, sodium lamps, cheap sensors."""
    saturation: NotNegative = 0.6
    hue_deg: NotNegative = 12.0
    blur: Share = 0.25
    """Probability of blur or loss of resolution."""
    noise: Share = 0.4
    """Probability of sensor noise."""
    noise_level: NotNegative = 12.0
    """Its largest standard deviation, in pixel units (0..255)."""
    jpeg: Share = 0.0
    """Probability of the blocks and smears of strong compression: webcams and streams."""


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how fast the net learns."""

    steps: Count
    batch: Count = 8
    learning_rate: NotNegative = 2e-3
    warm_up_steps: Annotated[int, msgspec.Meta(ge=0)] = 200
    """Steps over which the rate rises from 0; AdamW's first steps are far too large otherwise."""
    poly_power: NotNegative = 0.9
    """The rate falls with (1 - progress) to this power."""
    weight_decay: NotNegative = 0.02
    """L2, on weights of convolutions only: decay of norms and biases only rescales the maps."""
    l1: NotNegative = 0.0
    """L1: the sum of absolute convolution weights times this is added to the loss. It moves useless weights to 0."""
    encoder_rate: NotNegative = 1.0
    """The encoder's learning rate, relative to the others'. Pretrained weights need little change, and forget with too much."""
    keep: Share = 0.0
    """Share of the starting weights in the encoder that is evaluated and exported. Training helps on the sets' kinds of pictures
    and harms on others; a mean of both nets is better on both (WiSE-FT: Wortsman et al., CVPR 2022)."""
    gradient_clip: Positive = 5.0
    ema: Share = 0.998
    """Decay of the running mean of the weights, which is evaluated and exported."""
    evaluate_every: Count = 500
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    mixed_precision: bool = True
    """Half precision where the device computes it natively: GPUs, and processors with bf16 (avx512_bf16, AMX); else ignored."""


class Composites(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Objects cut out of one set and pasted into crops of all sets: crowds, and new backgrounds.

    Where the set has labels of single objects, only these are cut out; otherwise all pixels of the class.
    """

    source: str
    """The set to cut objects from."""
    cls: str = msgspec.field(name="class")
    """The model's class to cut out."""
    share: Share = 0.5
    """Probability that a crop gets pasted objects."""
    most: Count = 2
    """Maximum number of objects per crop."""
    scale: tuple[float, float] = (0.4, 1.2)
    """Their size, in place of `augmentation.scale`."""


class TaskWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of the other tasks in the loss; classes have weight 1."""

    surface: NotNegative = 0.4
    centre: NotNegative = 0.15
    offset: NotNegative = 0.4


class Teacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trained model that labels images, for `teach`."""

    means: Mapping[str, tuple[str, ...]]
    """Its class -> the model's classes it covers, of which the first is used. Classes that are left out are not used."""
    weight: Positive = 1.0
    """Weight of its probabilities relative to other teachers'."""
    brighten: bool = False
    """Give it dark images brightened, as the net sees them."""
    mirror: bool = False
    """Average with its prediction for the mirror image."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. `card` has the keys of the exported model's card that cannot be measured."""

    name: str
    classes: tuple[str, ...]
    """In a file also a word, such as "cityscapes"."""
    input_px: tuple[int, int]
    """Width and height of the exported model's input; [0, 0]: the size of the images, up to about 512x512."""
    schedule: Schedule
    fit: Literal["stretch", "letterbox"] = "stretch"
    """How frames are fitted to it: stretching uses every pixel; a letterbox keeps shapes, which matter most for people."""
    sets: tuple[SetSettings, ...] = ()
    """Settings of sets, by folder name. They override the folder's own dataset.toml."""
    things: tuple[str, ...] = ()
    """Classes of countable objects."""
    heads: tuple[Literal["surface", "instances"], ...] = ()
    """Further tasks: the road's surface (drivable, lane lines); centres of objects and offsets to them."""
    output: Literal["labels", "alpha"] = "labels"
    """Output of the exported model: the class of each pixel, or, with two classes, the opacity of the second."""
    net: NetSettings = NetSettings()
    augmentation: Augmentation = Augmentation()
    composites: Composites | None = None
    distractors: Composites | None = None
    """The same, pasted before: things that the model does not look for, so that not every large thing in front is one."""
    task_weights: TaskWeights = TaskWeights()
    teachers: Mapping[str, Teacher] = {}
    """By the name in the teacher's card."""
    emphasis: Mapping[str, NotNegative] = {}
    """Class -> factor on its weight in the loss, on top of the balance by frequency."""
    rebalance: Share = 0.0
    """Share (0..1) of the class weights' logarithm to subtract from the logits at export; see `Checkpoint.rebalanced`."""
    card: Mapping[str, Any] = {}

    @property
    def pasted(self) -> dict[str, Composites]:
        """What is pasted into crops, in order, by the name of its table."""
        tables = {"distractors": self.distractors, "composites": self.composites}
        return {key: table for key, table in tables.items() if table is not None}

    @property
    def input(self) -> InputSpec:
        """The exported model's input: bytes of a frame. Normalisation is in the graph."""
        return InputSpec("image", self.input_px, "nhwc", "uint8", "bgr", self.fit)


def recipe_from_dict(facts: Mapping[str, Any], where: str) -> Recipe:
    """Check `facts` and freeze them. `where` names their origin in messages. Raises TrainingError, and DataError for a set."""
    recipe = checked(_with_names(facts, where), Recipe, where, TrainingError)
    check_recipe(recipe, where)
    return recipe


def _with_names(facts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`facts` with names in place of a word such as "cityscapes", also in its sets, and that word's colours in the card."""
    named, word = expanded(facts, where, TrainingError), facts.get("classes")
    if isinstance(sets := facts.get("sets"), list | tuple):
        named["sets"] = [expanded(each, where, TrainingError) if isinstance(each, Mapping) else each for each in sets]
    meant, card = class_set(word) if isinstance(word, str) else None, facts.get("card", {})
    if meant and meant.palette and isinstance(card, Mapping) and "palette" not in card:
        named["card"] = {**card, "palette": dict(meant.palette)}
    return named


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain dicts, lists and numbers, as checkpoints keep them and `recipe_from_dict` reads them."""
    plain: dict[str, Any] = msgspec.to_builtins(recipe)
    return plain


def for_export(trained: Recipe, newer: Recipe) -> Recipe:
    """`trained` with the card and `rebalance` of `newer`: the only settings that may change after training."""
    return msgspec.structs.replace(trained, card=newer.card, rebalance=newer.rebalance)


def difference(then: Recipe, now: Recipe) -> str:
    """The first key in which two recipes differ, with both values."""
    path, before, after = "", msgspec.to_builtins(then), msgspec.to_builtins(now)
    while isinstance(before, dict) and isinstance(after, dict):
        key = next(key for key in {**before, **after} if before.get(key) != after.get(key))
        path, before, after = f"{path}.{key}" if path else key, before.get(key), after.get(key)
    plain = [list(value) if isinstance(value, tuple) else value for value in (before, after)]
    return f"{path} = {plain[0]}, and now it is {plain[1]}"


def check_recipe(recipe: Recipe, where: str) -> None:
    """Raise TrainingError or DataError for settings that contradict each other. Open classes are checked once they are known."""
    if len(set(recipe.classes)) < len(recipe.classes):
        raise TrainingError(f"{where}: a class occurs twice in {list(recipe.classes)}", "Remove one")
    if "instances" in recipe.heads and not recipe.things:
        raise TrainingError(f'{where}: the head "instances" needs countable classes', "List them under `things`")
    for key, size_px in (("input_px", recipe.input_px), ("augmentation.crop_px", recipe.augmentation.crop_px)):
        if any(side < 32 or side % 32 for side in size_px) and (key, size_px) != ("input_px", OPEN_SIZE):
            raise TrainingError(f"{where}: {key} is {list(size_px)}", "Write multiples of 32")
    ranges = {f"augmentation.{key}": getattr(recipe.augmentation, key) for key in ("scale", "aspect", "gamma")}
    ranges |= {f"{key}.scale": pasted.scale for key, pasted in recipe.pasted.items()}
    for key, (low, high) in ranges.items():
        if not 0 < low <= high:
            raise TrainingError(f"{where}: {key} is {[low, high]}", "Write two numbers above 0, the smaller first")
    if recipe.classes:
        _check_classes(recipe, where)


def _check_classes(recipe: Recipe, where: str) -> None:
    """Every class name must be one of the model's."""
    if recipe.output == "alpha" and len(recipe.classes) != 2:
        raise TrainingError(
            f'{where}: output "alpha" needs two classes, and there are {len(recipe.classes)}',
            'The opacity is that of the second class; write two classes, or output = "labels"',
        )
    named = {"things": recipe.things, "emphasis": tuple(recipe.emphasis)}
    named |= {f"{key}.class": (pasted.cls,) for key, pasted in recipe.pasted.items()}
    for title, teacher in recipe.teachers.items():
        named[f"teachers.{title}.means"] = tuple(target for targets in teacher.means.values() for target in targets)
    for key, names in named.items():
        _check_known(names, recipe.classes, f"{where}: {key}")
    for data_set in recipe.sets:
        check_means(data_set, recipe.classes, f'{where}: set "{data_set.name}"')


def check_means(settings: SetSettings, model_classes: tuple[str, ...], where: str) -> None:
    """Every class of the set must be one of the model's, or have an entry in `means`. Raises TrainingError or DataError."""
    check_settings(settings, where)
    for name, targets in settings.means.items():
        _check_known(targets, model_classes, f"{where}, means.{name}")
    for name in settings.classes:
        if name not in settings.means and name not in model_classes:
            near = nearest(name, model_classes)
            raise TrainingError(
                f'{where}: the model has no class "{name}"' + ("" if near else f"; it has {', '.join(model_classes)}"),
                (f'Did you mean "{near}"? Otherwise write' if near else "Write")
                + f' its meaning under [means] in its {FILE_NAME}: "{name}" = ["{near or model_classes[0]}"], or [] for none',
            )


def _check_known(names: tuple[str, ...], classes: tuple[str, ...], where: str) -> None:
    for name in names:
        if name not in classes:
            raise TrainingError(f'{where}: unknown class "{name}"', choices(name, classes))
