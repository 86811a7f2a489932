"""Guessing: the card keys that an ONNX file tells by its tensors' shapes, its embedded metadata and a labels file beside it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from engines.errors import CardError
from engines.models.coco import COCO_CLASSES
from engines.models.guess_mattes import is_one_channel, matte_output, side_inputs
from engines.models.guess_named import named_outputs, rfdetr_classes, rfdetr_input
from engines.onnx_graph.reading import NetworkFacts, TensorFacts
from engines.types import VOID_CLASS

SUPPORTED = (
    "supported outputs are semantic logits [1,C,H,W], semantic labels [1,H,W] (integers), or YOLO segmentation: "
    "[1,4+classes+K,N], [1,N,5+classes+K] or [1,N,6+K], with prototypes [1,K,h,w]; of detectors exported by Ultralytics "
    "[1,4+classes,N] or [1,N,6]"
)

YOLOV5_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Of its grids; each cell has three anchors. Source: ultralytics/yolov5, models/*.yaml."""


def guess(facts: NetworkFacts, onnx_path: Path, written: dict[str, Any]) -> dict[str, Any]:
    """Every card key that the graph, its metadata and a labels file beside it tell."""
    fed = side_inputs(facts, written)
    image = _image_input(facts, onnx_path, {tensor for table in fed.values() for tensor in table})
    family, outputs, class_count = _guess_outputs(facts, image, onnx_path, written)
    guessed: dict[str, Any] = {
        "name": onnx_path.stem if onnx_path.stem != "model" else onnx_path.parent.name,
        "file": onnx_path.name,
        "family": family,
        "outputs": outputs,
        "licence": facts.metadata.get("license", "unknown"),
        "description": facts.metadata.get("description", ""),
        "input": _guess_input(image, facts, family, outputs),
        **fed,
    }
    names = _class_names(facts, onnx_path, class_count)
    if names:
        guessed["classes"] = names
        if family in ("yolo_seg", "boxes"):
            guessed["things"] = names
    if family == "rfdetr_seg":
        guessed |= {"classes": names} if names or "classes" in written else rfdetr_classes(facts)
        guessed["things"] = [name for name in guessed.get("classes", ()) if name not in guessed.get("void", ())]
    if family == "panoptic" and "alpha" in outputs:
        guessed |= {"classes": names or ["foreground"], "things": names or ["foreground"]}
    if family == "matting":  # one foreground, whatever it is of
        guessed |= {"classes": names or ["foreground"], "things": names or ["foreground"]}
        if "background" in (written["classes"] if isinstance(written.get("classes"), list) else names):
            guessed["void"] = ["background"]
    return guessed


def _image_input(facts: NetworkFacts, onnx_path: Path, fed: set[str]) -> TensorFacts:
    """fed: the inputs that are states or constants."""
    inputs = [t for t in facts.inputs if t.name not in fed]
    images = [t for t in inputs if len(t.shape) == 4 and t.shape[0] == 1 and (t.shape[3] == 3 or t.shape[1] in (3, None))]
    if len(inputs) != 1 or len(images) != 1:
        has = ", ".join(str(t) for t in facts.inputs) or "none"
        others = (
            f"; if it is recurrent, name its other inputs in {card_name(onnx_path)}: [states] INPUT = "
            '"OUTPUT that comes back at the next frame", [constants] INPUT = number'
        )
        raise CardError(
            f"{onnx_path}: the network must have one image input, [1,3,H,W] or [1,H,W,3]; it has: {has}"
            + (others if len(inputs) > 1 else "")
        )
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
    if task == "detect":
        boxes = _detector_outputs(facts)
        if boxes:
            return boxes
    if "segment" not in task and "semantic" not in task and task != "detect":
        raise CardError(f'{onnx_path}: exported for the task "{task}"; this program wants a segmentation model or a detector')
    named = named_outputs(facts) or _fused_outputs(facts)
    if named:
        return named
    prototypes = [t for t in facts.outputs if len(t.shape) == 4 and t.dtype.startswith("float")]
    rows = [t for t in facts.outputs if len(t.shape) == 3 and t.dtype.startswith("float")]
    if len(prototypes) == 1 and len(rows) == 1:
        mask_count = prototypes[0].shape[1]
        _, channels, count = rows[0].shape
        if mask_count and count and count > 5 + mask_count and _is_yolov5(rows[0], image, facts):
            return "yolo_seg", {"rows": rows[0].name, "prototypes": prototypes[0].name}, count - 5 - mask_count
        if mask_count and count == 6 + mask_count:
            return "yolo_seg", {"detections": rows[0].name, "prototypes": prototypes[0].name}, None
        # More channels than boxes is the same array transposed, whose axes mean something else.
        if mask_count and channels and 4 + mask_count < channels < (count or VOID_CLASS**2):
            return "yolo_seg", {"predictions": rows[0].name, "prototypes": prototypes[0].name}, channels - 4 - mask_count
    matte = matte_output(facts, image)
    if matte:
        return "matting", {"alpha": matte}, None
    if len(facts.outputs) == 1:
        output = facts.outputs[0]
        is_logits = output.dtype.startswith("float") and _has_aspect_of(output, image)
        if is_logits and 2 <= (output.shape[1] or 2) <= VOID_CLASS:
            return "semantic", {"logits": output.name}, output.shape[1]
        if "int" in output.dtype and _is_one_map(output.shape):
            return "semantic", {"labels": output.name}, None
        if len(rows) == 1 and (rows[0].shape[2] or 0) > 5 and _is_yolov5(rows[0], image, facts):
            return "boxes", {"rows": rows[0].name}, (rows[0].shape[2] or 0) - 5
    has = ", ".join(str(t) for t in facts.outputs)
    keys = 'family = "semantic", outputs = {logits = "TENSOR"}'
    mattes = [output.name for output in facts.outputs if is_one_channel(output, image)]
    if mattes:
        keys = f'family = "matting", outputs = {{alpha = "{mattes[0]}"}} for a foreground\'s opacity of 0..1'
    raise CardError(
        f"{onnx_path}: unsupported outputs: {has}; {SUPPORTED}. If one is meant, name it in {card_name(onnx_path)}: {keys} "
        "(other families, and YOLOX: docs/models.md)"
    )


def _fused_outputs(facts: NetworkFacts) -> tuple[str, dict[str, str], None] | None:
    """Of what `engines.onnx_graph.fusing` made: its outputs are named after their roles."""
    by_name = {tensor.name: tensor for tensor in facts.outputs}
    if "labels" in by_name and len(by_name) > 1 and set(by_name) <= {"labels", "confidence", "logit_mean"}:
        return "semantic", {name: name for name in by_name}, None
    others = [tensor for name, tensor in by_name.items() if name != "candidates" and len(tensor.shape) == 4]
    columns = [10 + tensor.shape[1] for tensor in others if tensor.shape[1]]
    if "candidates" in by_name and len(others) == 1 and columns == list(by_name["candidates"].shape[2:]):
        return "yolo_seg", {"candidates": "candidates", "prototypes": others[0].name}, None
    return None


def _detector_outputs(facts: NetworkFacts) -> tuple[str, dict[str, str], int | None] | None:
    """Of a YOLO that was exported to detect: one output of rows."""
    if len(facts.outputs) != 1 or len(facts.outputs[0].shape) != 3:
        return None
    output = facts.outputs[0]
    _, channels, count = output.shape
    if count == 6:
        return "boxes", {"detections": output.name}, None
    if channels and 4 < channels < (count or VOID_CLASS**2):
        return "boxes", {"predictions": output.name}, channels - 4
    return None


def _is_yolov5(rows: TensorFacts, image: TensorFacts, facts: NetworkFacts) -> bool:
    """Whether there is a row for each of YOLOv5's anchors; where that is open, whether its exporter wrote the file.

    It embeds the stride as its successors do, but no task.
    """
    height, width = image.shape[2:4] if _is_planar(image) else image.shape[1:3]
    if rows.shape[1] is None:
        return "stride" in facts.metadata and "task" not in facts.metadata
    if not (height and width):
        return False
    counts = [3 * sum((height // stride) * (width // stride) for stride in strides) for strides in YOLOV5_STRIDES]
    return rows.shape[1] in counts


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


def card_name(onnx_path: Path) -> str:
    return onnx_path.with_suffix(".toml").name


def _guess_input(image: TensorFacts, facts: NetworkFacts, family: str, outputs: dict[str, str]) -> dict[str, Any]:
    planar = _is_planar(image)
    height, width = image.shape[2:4] if planar else image.shape[1:3]
    if not (height and width):
        height, width = _embedded_size(facts) or ((640, 640) if family in ("yolo_seg", "boxes") else (None, None))
    guessed: dict[str, Any] = {
        "tensor": image.name,
        "layout": "nchw" if planar else "nhwc",
        "dtype": image.dtype,
        "channels": "rgb",
        "fit": "stretch",
    }
    if height and width:
        guessed["size_px"] = [width, height]
    # Every Ultralytics export wants this, and says so nowhere in the graph.
    if family == "yolo_seg" or (family == "boxes" and ("task" in facts.metadata or "rows" in outputs)):
        guessed |= {"fit": "letterbox", "mean": [0, 0, 0], "std": [255, 255, 255]}
    elif family == "rfdetr_seg" and image.dtype != "uint8":
        guessed |= rfdetr_input(facts)
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
