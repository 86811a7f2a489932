"""A checkpoint to the ONNX file that the program runs, checked label by label against the net it came from."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import onnx
import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from engines.datasets.folder import DataSet
from engines.loading import import_onnxruntime
from engines.models.card import InputSpec, ModelCard
from engines.models.fit import InputFiller
from engines.onnx_graph.sizing import resized
from engines.training.agreement import Answer, Answerer, agreement
from engines.training.cards import card_facts, write_card
from engines.training.checkpoint import Checkpoint, save_weights
from engines.training.deployed import Deployed
from engines.training.errors import TrainingError
from engines.training.evaluate import Predictor, SetScore, score_set
from engines.training.rebalance import rebalanced
from engines.types import U8

OPSET = 17
SMALLEST_PARITY = 0.9999
"""Share of labels that must agree. Two runtimes add in different orders, so a tie between classes may fall either way."""
SMALLEST_PEAK_PARITY = 0.98
"""Of centres, which are few: two of the same height may change places with their neighbours."""
MOST_PROBES = 16
"""Held-out frames of each set that the two are compared on."""


class Exported(NamedTuple):
    """What came out: the ONNX file, the share of labels that are the checkpoint's, and the scores on held-out images."""

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
    """Write model.onnx, card.toml and weights.pt (what --from begins with) into `folder`.

    sets: their held-out images give the card's figures. dynamic: batch and size stay open. Raises TrainingError when the two
    models disagree, and CardError when the texts of the recipe's [card] table have a fault.
    """
    recipe = checkpoint.recipe
    net = rebalanced(checkpoint).net()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be made ({error.strerror}); name another folder with --out") from error
    model = folder / "model.onnx"
    deployed = Deployed(net, recipe.output).eval()
    parity = export_onnx(deployed, recipe.input, model, _probes(recipe.input, sets), dynamic=dynamic)
    predict = onnx_predictor(model, recipe.output)
    scores = tuple(score_set(predict, data_set, recipe) for data_set in sets if data_set.held_out)
    save_weights(folder / "weights.pt", checkpoint)
    facts = card_facts(recipe, model, deployed.output_names, scores, parity)
    write_card(folder / "card.toml", facts)
    return Exported(model, parity, scores)


def export_onnx(deployed: Deployed, spec: InputSpec, path: Path, images: Iterable[U8], *, dynamic: bool = False) -> float:
    """Write the net to `path`, whole or not at all. Returns the share of labels, or opacities, that agree.

    images: (H, W, 3) uint8 BGR of the input's size, to compare the two on. Raises TrainingError when they disagree in any output.
    """
    part = path.with_name(path.name + ".part")
    names = list(deployed.output_names)
    # Always traced with an open size, so that none is baked in: `run.py export --size` can then make another of the file.
    axes = {name: {0: "batch"} for name in names} | {spec.tensor: {0: "batch", 1: "height", 2: "width"}}
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
    images = list(images)
    agreeing = agreement(torch_answerer(deployed), onnx_answerer(part), images)
    for name, share in agreeing.items():
        if share < (SMALLEST_PEAK_PARITY if name == "peaks" else SMALLEST_PARITY):
            part.unlink()
            raise TrainingError(f"{path}: only {share:.4%} of the exported model's {name} are the checkpoint's; not written")
    part.replace(path)
    return agreeing.get(deployed.output, 1.0)


def example(spec: InputSpec) -> torch.Tensor:
    """A black frame, as the graph takes it."""
    return torch.zeros(1, spec.size_px[1], spec.size_px[0], 3, dtype=torch.uint8)


def torch_answerer(deployed: Deployed) -> Answerer:
    """Every output of the net as it is in memory."""

    def answer(image: U8) -> Answer:
        with torch.inference_mode():
            found = deployed(torch.from_numpy(image)[None])
        return {name: output.numpy() for name, output in zip(deployed.output_names, found, strict=True)}

    return answer


def onnx_answerer(path: Path) -> Answerer:
    """Every output of an exported model in ONNX Runtime on the CPU. Raises TrainingError when it cannot be opened."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work shares the cores
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise TrainingError(f"{path}: ONNX Runtime cannot open it ({str(error).splitlines()[0]}); export it again") from error
    names = [output.name for output in session.get_outputs()]

    def answer(image: U8) -> Answer:
        return dict(zip(names, session.run(names, {session.get_inputs()[0].name: image[None]}), strict=True))

    return answer


def onnx_predictor(path: Path, output: Literal["labels", "alpha"] = "labels") -> Predictor:
    """Predict with an exported model in ONNX Runtime on the CPU. Raises TrainingError when it cannot be opened."""
    answer = onnx_answerer(path)

    def predict(image: U8) -> U8:
        first = answer(image)[output][0]
        return np.asarray(first > 127 if output == "alpha" else first, np.uint8)

    return predict


def _probes(spec: InputSpec, sets: Sequence[DataSet]) -> list[U8]:
    """Held-out frames of each set, as the model sees them; made-up ones where there are none."""
    fill = InputFiller(spec)
    frames = [sample.image for data_set in sets for sample in data_set.held_out[:MOST_PROBES]]
    return [np.asarray(fill(frame)[0][0], np.uint8).copy() for frame in frames] or probe_images(spec.size_px)


def probe_images(input_px: tuple[int, int], count: int = 4) -> list[U8]:
    """Images to compare two runtimes on where no data is at hand: smooth colour fields, of which the net makes many classes."""
    width, height = input_px
    images = []
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        images.append(np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8))
    return images
