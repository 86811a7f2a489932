"""Sidecars: what Hugging Face's config.json and preprocessor_config.json beside an ONNX file say of its classes and its input."""

import json
import logging
import math
from pathlib import Path
from typing import Any

from engines.errors import CardError
from engines.models.names import names_by_number

_log = logging.getLogger(__name__)

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"

MAX_BYTES = 4 * 1024**2

ONNX_FOLDER = "onnx"
"""Where its exporter puts the network, below those files."""

UNNAMED = "LABEL_0"
"""The first class of a model whose author named none."""


def input_beside(onnx_path: Path) -> dict[str, Any]:
    """Keys of a card's [input]: `mean`, `std`, `channels`, `fit` and perhaps `size_px`; empty where there is no such file."""
    said = _read(onnx_path, PREPROCESSOR)
    if not said or ("image_processor_type" not in said and "feature_extractor_type" not in said and "image_mean" not in said):
        return {}
    factor = said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) is not False else 1.0
    if not isinstance(factor, int | float) or not 0 < factor < math.inf:
        return {}
    is_normalised = said.get("do_normalize", True) is not False
    mean, std = (said.get("image_mean", [0, 0, 0]), said.get("image_std", [1, 1, 1])) if is_normalised else ([0, 0, 0], [1, 1, 1])
    numbers = [_three(mean), _three(std)]
    if any(found is None for found in numbers) or not min(numbers[1] or [0]) > 0:
        return {}
    scaled = [[round(number / factor, 4) for number in found] for found in numbers if found is not None]
    channels = "bgr" if said.get("do_flip_channel_order") is True else "rgb"
    return {"mean": scaled[0], "std": scaled[1], "channels": channels, "fit": "stretch"} | _size(said.get("size"))


def names_in_config(onnx_path: Path, class_count: int | None) -> list[str]:
    """The class names in `id2label`; empty where there are none, or not as many as the network has."""
    table = _read(onnx_path, CONFIG).get("id2label")
    if not isinstance(table, dict):
        return []
    try:
        names = names_by_number(table)
    except ValueError:
        return []
    return [] if names[:1] == [UNNAMED] or class_count not in (None, len(names)) or len(set(names)) < len(names) else names


def _read(onnx_path: Path, name: str) -> dict[str, Any]:
    """The table in such a file next to the network, or above its folder. Raises CardError for one that cannot be read.

    Any file may have that name: what is no JSON says nothing.
    """
    folders = [onnx_path.parent, *([onnx_path.parent.parent] if onnx_path.parent.name == ONNX_FOLDER else [])]
    for path in (folder / name for folder in folders):
        try:
            if path.is_file() and path.stat().st_size <= MAX_BYTES:
                found = json.loads(path.read_text(encoding="utf-8-sig"))
                return found if isinstance(found, dict) else {}
        except (ValueError, RecursionError) as error:
            _log.warning("%s: ignored, since it cannot be read (%s)", path, error)
        except OSError as error:
            raise CardError(f"{path}: cannot be read ({error})", "Correct it, or remove it") from error
    return {}


def _three(found: Any) -> list[float] | None:
    """Three finite numbers; one stands for all of them. None for anything else."""
    found = [found] * 3 if isinstance(found, int | float) else found
    is_sound = isinstance(found, list) and len(found) == 3 and all(isinstance(number, int | float) for number in found)
    return list(map(float, found)) if is_sound and all(map(math.isfinite, found)) else None


def _size(found: Any) -> dict[str, Any]:
    """`size_px`, of a square or of height and width."""
    if isinstance(found, dict):
        width, height = found.get("width"), found.get("height")
    else:
        width = height = found
    is_sound = all(isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in (width, height))
    return {"size_px": [width, height]} if is_sound else {}
