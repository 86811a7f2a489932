"""A checkpoint to the ONNX file that the program runs, compared with the net that it was made from."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from engines.datasets.folder import DataSet
from engines.files import whole_file
from engines.models.card import InputSpec, ModelCard
from engines.models.sizing import resized
from engines.training import TrainingError
from engines.training.cards import card_facts, write_card
from engines.training.checkpoint import Checkpoint, save_weights
from engines.training.deployed import Deployed, torch_answerer
from engines.training.evaluate import SetScore, score_set
from engines.training.parity import agreement, onnx_answerer, onnx_predictor, probes
from engines.training.run_folder import make_folder
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


def export_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    sets: Sequence[DataSet] = (),
    *,
    dynamic: bool = False,
) -> Exported:
    """Write model.onnx, card.toml and weights.pt (for --from) into `folder`.

    sets: their held-out images give the card's figures. dynamic: leave batch and size open. Raises TrainingError when model and
    net disagree, and CardError for an error in the recipe's [card] table.
    """
    recipe = checkpoint.recipe
    make_folder(folder)
    model = folder / "model.onnx"
    deployed = Deployed(checkpoint.rebalanced().net(), recipe.output).eval()
    parity = export_onnx(deployed, recipe.input, model, probes(recipe.input, sets), dynamic=dynamic)
    predict = onnx_predictor(model, recipe.output)
    scores = tuple(score_set(predict, data_set, recipe) for data_set in sets if data_set.held_out)
    save_weights(folder / "weights.pt", checkpoint)
    write_card(folder / "card.toml", card_facts(recipe, model, deployed.output_names, scores, parity))
    return Exported(model, parity, scores)


def export_onnx(deployed: Deployed, spec: InputSpec, path: Path, images: Iterable[U8], *, dynamic: bool = False) -> float:
    """Write the net to `path`, whole or not at all. Returns the share of labels, or opacities, that agree.

    images: (H, W, 3) uint8 BGR of the input's size, to compare on. Raises TrainingError when any output disagrees.
    """
    names = list(deployed.output_names)
    # Always traced with an open size, so that none becomes a constant: `run.py export --size` can then change it.
    axes = {name: {0: "batch"} for name in names} | {spec.tensor: {0: "batch", 1: "height", 2: "width"}}
    with whole_file(path) as part:
        with warnings.catch_warnings():
            # The tracing exporter is called legacy, but it needs no further package and folds every batch norm.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", TracerWarning)
            torch.onnx.export(
                deployed, (example(spec),), str(part), input_names=[spec.tensor], output_names=names, dynamic_axes=axes,
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        if not dynamic:
            card = ModelCard("exported", "", spec, {name: name for name in names}, ("any",))
            onnx.save(resized(onnx.load(part), card, spec.size, 1)[0], part)
        onnx.checker.check_model(str(part), full_check=True)
        agreeing = agreement(torch_answerer(deployed), onnx_answerer(part), images)
        for name, share in agreeing.items():
            if share < (SMALLEST_PEAK_PARITY if name == "peaks" else SMALLEST_PARITY):
                raise TrainingError(
                    f"{path}: only {share:.4%} of the exported model's {name} equal the checkpoint's, so nothing was written",
                    "Please report this with the versions of PyTorch and ONNX Runtime",
                )
    return agreeing.get(deployed.output, 1.0)


def example(spec: InputSpec) -> torch.Tensor:
    """A black frame, as the graph takes it."""
    return torch.zeros(1, spec.size_px[1], spec.size_px[0], 3, dtype=torch.uint8)
