"""Model: an ONNX file together with its card. The card is made from the graph, and from what card.toml adds to it."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.card import ModelCard, card_from_dict, read_toml
from engines.coco import COCO_CLASSES
from engines.errors import CardError, ModelFileError
from engines.graph import NetworkFacts, TensorFacts, read_network
from engines.types import VOID_CLASS

SUPPORTED = (
    "supported outputs are semantic logits [1,C,H,W], semantic labels [1,H,W] (integers), or YOLO segmentation: "
    "[1,4+classes+K,N] or [1,N,6+K], with prototypes [1,K,h,w]"
)


@dataclass(frozen=True, slots=True)
class Model:
    """A card and the ONNX file it describes."""

    card: ModelCard
    path: Path


def load_model(onnx_path: Path) -> Model:
    """Make the card of an ONNX file from its graph, embedded metadata and the card beside it, and check them against each other.

    Raises ModelFileError (missing, corrupt, wrong hash) or CardError (unsupported, contradictory, or a fact is missing:
    the text says which key to write, and where).
    """
    facts = read_network(onnx_path)
    card_path = find_card(onnx_path)
    written = read_toml(card_path) if card_path else {}
    guessed = _guess(facts, onnx_path, written)
    merged = {**guessed, **written}
    merged["input"] = {**guessed["input"], **_table(written, "input", onnx_path)}
    merged["outputs"] = {**_table(guessed, "outputs", onnx_path), **_table(written, "outputs", onnx_path)}
    _ask_for_missing(merged, onnx_path, card_path)
    card = card_from_dict(merged, str(card_path or onnx_path))
    _compare(card, facts, onnx_path)
    if card.sha256:
        _check_hash(onnx_path, card.sha256)
    return Model(card, onnx_path)


def find_card(onnx_path: Path) -> Path | None:
    """The card beside an ONNX file: NAME.toml, else a card.toml whose `file` is this one."""
    own = onnx_path.with_suffix(".toml")
    if own.is_file():
        return own
    shared = onnx_path.parent / "card.toml"
    if shared.is_file() and read_toml(shared).get("file", "model.onnx") == onnx_path.name:
        return shared
    return None


def _table(facts: dict[str, Any], key: str, onnx_path: Path) -> dict[str, Any]:
    table = facts.get(key, {})
    if not isinstance(table, dict):
        raise CardError(f"{onnx_path}: its card's `{key}` must be a table, written as [{key}]")
    return table


def _guess(facts: NetworkFacts, onnx_path: Path, written: dict[str, Any]) -> dict[str, Any]:
    """Every card key that the graph, its metadata and a labels file beside it tell."""
    image = _image_input(facts, onnx_path)
    family, outputs, class_count = _guess_outputs(facts, image, onnx_path, written)
    guessed: dict[str, Any] = {
        "name": onnx_path.stem if onnx_path.stem != "model" else onnx_path.parent.name,
        "file": onnx_path.name,
        "family": family,
        "outputs": outputs,
        "licence": facts.metadata.get("license", "unknown"),
        "description": facts.metadata.get("description", ""),
        "input": _guess_input(image, facts, family),
    }
    names = _class_names(facts, onnx_path, class_count)
    if names:
        guessed["classes"] = names
        if family == "yolo_seg":
            guessed["things"] = names
    return guessed


def _image_input(facts: NetworkFacts, onnx_path: Path) -> TensorFacts:
    images = [t for t in facts.inputs if len(t.shape) == 4 and t.shape[0] == 1 and (t.shape[3] == 3 or t.shape[1] in (3, None))]
    if len(facts.inputs) != 1 or len(images) != 1:
        has = ", ".join(str(t) for t in facts.inputs) or "none"
        raise CardError(f"{onnx_path}: the network must have one image input, [1,3,H,W] or [1,H,W,3]; it has: {has}")
    return images[0]


def _is_planar(image: TensorFacts) -> bool:
    """Channels before rows and columns; also where the file leaves the number of channels open."""
    return image.shape[3] != 3 or image.shape[1] == 3


def _guess_outputs(
    facts: NetworkFacts, image: TensorFacts, onnx_path: Path, written: dict[str, Any]
) -> tuple[str, dict[str, str], int | None]:
    """Family, role → tensor, and class count where the shapes tell it."""
    if "outputs" in written and "family" in written:
        return str(written["family"]), {}, None
    task = facts.metadata.get("task", "segment")
    if "segment" not in task and "semantic" not in task:
        raise CardError(f'{onnx_path}: exported for the task "{task}"; this program wants a segmentation model')
    prototypes = [t for t in facts.outputs if len(t.shape) == 4 and t.dtype.startswith("float")]
    rows = [t for t in facts.outputs if len(t.shape) == 3 and t.dtype.startswith("float")]
    if len(prototypes) == 1 and len(rows) == 1:
        mask_count = prototypes[0].shape[1]
        _, channels, count = rows[0].shape
        if mask_count and count == 6 + mask_count:
            return "yolo_seg", {"detections": rows[0].name, "prototypes": prototypes[0].name}, None
        # More channels than boxes is the same array transposed, whose axes mean something else.
        if mask_count and channels and 4 + mask_count < channels < (count or VOID_CLASS**2):
            return "yolo_seg", {"predictions": rows[0].name, "prototypes": prototypes[0].name}, channels - 4 - mask_count
    if len(facts.outputs) == 1:
        output = facts.outputs[0]
        is_logits = output.dtype.startswith("float") and _has_aspect_of(output, image)
        if is_logits and 2 <= (output.shape[1] or 2) <= VOID_CLASS:
            return "semantic", {"logits": output.name}, output.shape[1]
        if "int" in output.dtype and _is_one_map(output.shape):
            return "semantic", {"labels": output.name}, None
    has = ", ".join(str(t) for t in facts.outputs)
    keys = 'family = "semantic", outputs = {logits = "TENSOR"}'
    raise CardError(
        f"{onnx_path}: unsupported outputs: {has}; {SUPPORTED}. If one is meant, name it in {_card_name(onnx_path)}: {keys}"
    )


def _has_aspect_of(output: TensorFacts, image: TensorFacts) -> bool:
    """Whether the last two of four axes are rows and columns: the image's, scaled alike.

    A matte [1,H,W,1] or a channels-last network is not: its last axis holds channels, and it reads differently.
    """
    if len(output.shape) != 4:
        return False
    (rows, columns), (height, width) = output.shape[2:], image.shape[2:] if _is_planar(image) else image.shape[1:3]
    if not (rows and columns and height and width):
        return (columns or 8) >= 8
    # Strided layers round up, each time by less than a pixel: a few pixels more or less are the same aspect.
    return abs(columns - rows * width / height) <= 2 * max(1, width / height)


def _is_one_map(shape: tuple[int | None, ...]) -> bool:
    """(H, W), (1, H, W), (1, 1, H, W) or (1, H, W, 1); an open dimension may be 1."""
    if len(shape) == 4 and shape[1] not in (1, None):
        return shape[3] in (1, None)
    return len(shape) in (2, 3, 4) and all(length in (1, None) for length in shape[:-2])


def _card_name(onnx_path: Path) -> str:
    return onnx_path.with_suffix(".toml").name


def _guess_input(image: TensorFacts, facts: NetworkFacts, family: str) -> dict[str, Any]:
    planar = _is_planar(image)
    height, width = image.shape[2:4] if planar else image.shape[1:3]
    if not (height and width):
        height, width = _embedded_size(facts) or ((640, 640) if family == "yolo_seg" else (None, None))
    guessed: dict[str, Any] = {
        "tensor": image.name,
        "layout": "nchw" if planar else "nhwc",
        "dtype": image.dtype,
        "channels": "rgb",
        "fit": "stretch",
    }
    if height and width:
        guessed["size_px"] = [width, height]
    if family == "yolo_seg":  # every Ultralytics export wants this, and says so nowhere in the graph
        guessed |= {"fit": "letterbox", "mean": [0, 0, 0], "std": [255, 255, 255]}
    elif image.dtype == "uint8":  # normalised inside the graph
        guessed |= {"mean": [0, 0, 0], "std": [1, 1, 1]}
    return guessed


def _embedded_size(facts: NetworkFacts) -> tuple[int, int] | None:
    """Height and width from Ultralytics' `imgsz`."""
    try:
        height, width = json.loads(facts.metadata.get("imgsz", ""))
        return int(height), int(width)
    except (ValueError, TypeError):
        return None


def _class_names(facts: NetworkFacts, onnx_path: Path, class_count: int | None) -> list[str]:
    """From the embedded metadata, a labels file beside the model, or, for 80 unnamed classes, COCO's."""
    embedded = facts.metadata.get("names")
    if embedded:
        return _parsed_names(embedded, onnx_path)
    for path in (onnx_path.with_suffix(".txt"), onnx_path.parent / "labels.txt", onnx_path.parent / "classes.txt"):
        if path.is_file():
            return _names_in(path)
    if class_count == len(COCO_CLASSES):
        return list(COCO_CLASSES)
    return [f"class {i}" for i in range(class_count)] if class_count else []


def _parsed_names(embedded: str, onnx_path: Path) -> list[str]:
    """Ultralytics writes a Python dict, {0: 'person', ...}; others a list."""
    try:
        table = ast.literal_eval(embedded)
        if isinstance(table, dict):
            return [str(table[key]) for key in sorted(table)]
        if isinstance(table, list | tuple):
            return [str(name) for name in table]
        raise TypeError(f"names are a {type(table).__name__}")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise CardError(f"{onnx_path}: its embedded class names cannot be read; write `classes` in its card") from error


def _names_in(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read as class names, one a line ({error})") from error


def _ask_for_missing(merged: dict[str, Any], onnx_path: Path, card_path: Path | None) -> None:
    """One error for everything that only a person can know."""
    asked = []
    if not merged.get("classes"):
        asked.append('classes = ["first", "second", ...]')
    image = merged["input"]
    if "size_px" not in image:
        asked.append("input.size_px = [width, height]")
    if image.get("dtype") != "uint8" and not ("mean" in image and "std" in image):
        asked.append("input.mean and input.std (pixel units; a 0..1 input is mean = [0, 0, 0], std = [255, 255, 255])")
    if asked:
        target = card_path or onnx_path.with_suffix(".toml")
        raise CardError(f"{onnx_path}: the file does not say everything; write in {target}: {'; '.join(asked)}")


def _compare(card: ModelCard, facts: NetworkFacts, onnx_path: Path) -> None:
    """The card must name tensors that exist, and as many classes as the network has."""
    shapes = {tensor.name: tensor.shape for tensor in facts.outputs}
    for role, tensor in card.outputs.items():
        if tensor not in shapes:
            has = ", ".join(shapes)
            raise CardError(f'{onnx_path}: its card names the output {role} = "{tensor}"; the network has: {has}')
    if card.input.tensor not in {tensor.name for tensor in facts.inputs}:
        has = ", ".join(tensor.name for tensor in facts.inputs)
        raise CardError(f'{onnx_path}: its card\'s input "{card.input.tensor}" is not in the network; it has: {has}')
    count: int | None = None
    if "logits" in card.outputs:
        count = _channels(shapes[card.outputs["logits"]])
    elif "predictions" in card.outputs and "prototypes" in card.outputs:
        channels, mask_count = (_channels(shapes[card.outputs[role]]) for role in ("predictions", "prototypes"))
        count = channels - 4 - mask_count if channels and mask_count else None
    if count is not None and count != len(card.classes):
        raise CardError(
            f"{onnx_path}: the network has {count} classes but {len(card.classes)} names are given "
            f"({', '.join(card.classes[:3])}, ...); correct `classes` in {_card_name(onnx_path)}"
        )


def _channels(shape: tuple[int | None, ...]) -> int | None:
    """The second axis; None when it is open or there is none, which the family reports when it reads the output."""
    return shape[1] if len(shape) > 1 else None


def _check_hash(onnx_path: Path, sha256: str) -> None:
    found = hashlib.sha256(onnx_path.read_bytes()).hexdigest()
    if found != sha256.lower():
        differ = f"SHA-256 is {found[:12]}..., its card says {sha256[:12]}..."
        raise ModelFileError(f"{onnx_path}: {differ}; the file was changed or damaged: get it again")
