"""A checkpoint to the ONNX file that the program runs, compared with the net that it was made from, and its card."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import onnx
import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from engines.datasets.folder import DataSet
from engines.files import sha256_of, whole_file, write_whole
from engines.models.card import InputSpec, ModelCard, card_from_dict, to_toml
from engines.models.sizing import resized
from engines.onnx_graph.suiting import bytes_through_float
from engines.training import TrainingError
from engines.training.checkpoint import Checkpoint, make_folder, save_weights
from engines.training.deployed import Deployed, SetScore, predictor, score_set, torch_answerer
from engines.training.parity import agreement, onnx_answerer, probes
from engines.training.recipe import Recipe
from engines.types import U8

OPSET = 17
SMALLEST_PARITY = 0.9999
"""Share of labels that must agree. Two runtimes add in different orders, so a tie between classes may fall either way."""
SMALLEST_PEAK_PARITY = 0.98
"""Of centres, which are few: two of equal height may change places."""


class Exported(NamedTuple):
    """The ONNX file, the share of its labels that equal the checkpoint's, and its scores on held-out images."""

    model: Path
    parity: float
    scores: tuple[SetScore, ...]


def export_checkpoint(checkpoint: Checkpoint, folder: Path, sets: Sequence[DataSet] = (), *, dynamic: bool = False) -> Exported:
    """Write model.onnx, card.toml and weights.pt (for --from) into `folder`.

    sets: their held-out images give the card's figures. dynamic: leave batch and size open. Raises TrainingError when model and
    net disagree, and CardError for an error in the recipe's [card] table.
    """
    recipe = checkpoint.recipe
    make_folder(folder)
    model = folder / "model.onnx"
    deployed = Deployed(checkpoint.rebalanced().net(), recipe.output).eval()
    parity = export_onnx(deployed, recipe.input, model, probes(recipe.input, sets), dynamic=dynamic)
    predict = predictor(onnx_answerer(model), recipe.output)
    scores = tuple(score_set(predict, data_set, recipe) for data_set in sets if data_set.held_out)
    save_weights(folder / "weights.pt", checkpoint)
    write_card(folder / "card.toml", card_facts(recipe, model, deployed.output_names, scores, parity))
    return Exported(model, parity, scores)


def export_onnx(deployed: Deployed, spec: InputSpec, path: Path, images: Iterable[U8], *, dynamic: bool = False) -> float:
    """Write the net to `path`, whole or not at all. Returns the share of labels, or opacities, that agree.

    images: (H, W, 3) uint8 BGR of the input's size, to compare on. Raises TrainingError when any output disagrees.
    """
    names = list(deployed.output_names)
    black = torch.zeros(1, *reversed(spec.size_px), 3, dtype=torch.uint8)
    # Always traced with an open size, so that none becomes a constant: `run.py export --size` can then change it.
    axes = {name: {0: "batch"} for name in names} | {spec.tensor: {0: "batch", 1: "height", 2: "width"}}
    with whole_file(path) as part:
        with warnings.catch_warnings():
            # The tracing exporter is called legacy, but it needs no further package and folds every batch norm.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", TracerWarning)
            named: dict[str, Any] = {"input_names": [spec.tensor], "output_names": names, "dynamic_axes": axes}
            torch.onnx.export(deployed, (black,), str(part), **named, opset_version=OPSET, dynamo=False)
        onnx.save(bytes_through_float(onnx.load(part)), part)
        if not dynamic:
            card = ModelCard("exported", "", spec, {name: name for name in names}, ("any",))
            onnx.save(resized(onnx.load(part), card, spec.size, 1)[0], part)
        onnx.checker.check_model(str(part), full_check=True)
        agreeing = agreement(torch_answerer(deployed), onnx_answerer(part), images)
        for name, share in agreeing.items():
            if share < (SMALLEST_PEAK_PARITY if name == "peaks" else SMALLEST_PARITY):
                what = f"{path}: only {share:.4%} of the exported model's {name} equal the checkpoint's, so nothing was written"
                raise TrainingError(what, "Please report this with the versions of PyTorch and ONNX Runtime")
    return agreeing.get(deployed.output, 1.0)


def card_facts(recipe: Recipe, model: Path, outputs: Sequence[str], scores: Sequence[SetScore], parity: float) -> dict[str, Any]:
    """The card's facts of the exported `model`: the recipe's [card] table and the measured figures."""
    sha256 = sha256_of(model)
    figures = {"size_bytes": float(model.stat().st_size), "labels_equal_to_checkpoint_percent": round(100 * parity, 4)}
    for score in (score for score in scores if not math.isnan(score.miou)):  # NaN: only void was held out
        figures[f"{score.name} held out: mIoU"] = round(score.miou, 1)
        figures |= {f"{score.name} held out: {name}": round(iou, 1) for name, iou in score.iou.items()}
    return {**_of_recipe(recipe, outputs), "file": model.name, "sha256": sha256, "figures": figures}


def check_card(recipe: Recipe) -> None:
    """Raise CardError for an error in the recipe's [card] table, before a long run."""
    card_from_dict(_of_recipe(recipe, ()), f'recipe "{recipe.name}", [card]')


def _of_recipe(recipe: Recipe, outputs: Sequence[str]) -> dict[str, Any]:
    """The facts that are known before anything is measured."""
    return {
        "name": recipe.name,
        "family": family(recipe),
        "classes": list(recipe.classes[1:] if recipe.output == "alpha" else recipe.classes),  # a matte has only the foreground
        "things": list(recipe.things),
        **_of_the_data(recipe),
        **recipe.card,
        "input": {key: value for key, value in msgspec.to_builtins(recipe.input).items() if key not in ("mean", "std")},
        "outputs": {name: name for name in outputs},
    }


def family(recipe: Recipe) -> str:
    """The module of `engines.families` that reads the exported model."""
    if "instances" in recipe.heads:
        return "panoptic"
    return "matting" if recipe.output == "alpha" else "semantic"


def write_card(path: Path, facts: Mapping[str, Any]) -> ModelCard:
    """Check `facts` like any card, and write them. Raises CardError."""
    card = card_from_dict(dict(facts), str(path))
    write_whole(path, to_toml(facts))
    return card


def _of_the_data(recipe: Recipe) -> dict[str, str]:
    """Data and licence as the sets' dataset.toml state them, for recipes without these keys."""
    terms = [f"{settings.name}: {settings.licence}" for settings in recipe.sets if settings.licence]
    names = ", ".join(settings.name for settings in recipe.sets)
    facts = {"data": f"Trained on {names}."} if names else {}
    return {**facts, "licence": "; ".join(terms)} if terms else facts
