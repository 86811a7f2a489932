"""Maps: reading the picture-like outputs of networks, labels and confidences. Maths that families share, NumPy only."""

import numpy as np
import numpy.typing as npt

from engines.errors import InferenceError
from engines.models.fit import Fit
from engines.types import U8, VOID_CLASS, Outputs, Size

SURFACES, SURFACE_MEANING = 3, "0 nothing, 1 drivable, 2 lane line"


def one_map(output: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.generic]:
    """A (H, W) view of an array whose other axes have length 1. Raises InferenceError for anything else."""
    if output.ndim == 4 and output.shape[3] == 1:
        output = output[..., 0]
    if output.ndim < 2 or any(length != 1 for length in output.shape[:-2]):
        raise InferenceError(f"output {name} is {output.shape}, not one (H, W) map")
    return output.reshape(output.shape[-2:])


def class_planes(output: npt.NDArray[np.generic], count: int) -> npt.NDArray[np.generic] | None:
    """A (C, H, W) view of (1, C, H, W), or of (1, H, W, C), of so many channels; None for another shape."""
    if output.ndim != 4 or len(output) != 1:
        return None
    if output.shape[1] == count:
        return output.reshape(output.shape[1:])
    return np.moveaxis(output.reshape(output.shape[1:]), 2, 0) if output.shape[3] == count else None


def byte_map(output: npt.NDArray[np.generic], name: str, meaning: str) -> U8:
    """A (H, W) map that must be uint8. Raises InferenceError, which gives the `meaning`."""
    found = one_map(output, name)
    if found.dtype != np.uint8:
        raise InferenceError(f"output {name} is {found.dtype}, not uint8 ({meaning})")
    return np.asarray(found, np.uint8)


def labels_of(labels: npt.NDArray[np.generic], name: str) -> U8:
    """(H, W) integers → uint8 class ids; what does not fit a byte is void. Raises InferenceError for floats."""
    if labels.dtype.kind not in "ui":
        raise InferenceError(f"output {name} is {labels.dtype}, not integer labels")
    if labels.dtype != np.uint8:
        # As unsigned, numbers below 0 are above 255 too: one minimum makes both void.
        unsigned = labels.view(f"u{labels.dtype.itemsize}")
        labels = np.minimum(unsigned, unsigned.dtype.type(VOID_CLASS)).astype(np.uint8)
    return np.ascontiguousarray(labels, np.uint8)


def fine_enough(found: npt.NDArray[np.generic], geometry: Fit) -> npt.NDArray[np.generic]:
    """The (H, W) map, its pixels repeated where `geometry.cut` would else cut through some."""
    finer = geometry.cells_per_edge(Size.of(found))
    return found.repeat(finer, axis=0).repeat(finer, axis=1) if finer > 1 else found


def surface_map(outputs: Outputs, name: str | None, geometry: Fit) -> U8 | None:
    """The output `name`, (1, any, any) uint8, of a road ahead: 0 nothing, 1 drivable, 2 lane line; a new array.

    None where there is no such output. Raises InferenceError for other numbers.
    """
    if name is None:
        return None
    whole = byte_map(outputs[name], name, SURFACE_MEANING)
    if whole.max(initial=0) >= SURFACES:
        raise InferenceError(f"output {name} contains {whole.max()}, which is none of {SURFACE_MEANING}")
    return np.array(geometry.cut(fine_enough(whole, geometry)), np.uint8)


def not_finite(what: str) -> InferenceError:
    """The error to raise for numbers that contain NaN or infinity."""
    return InferenceError(f"{what} contains NaN or infinite values", "Use --backend ort, or another precision")
