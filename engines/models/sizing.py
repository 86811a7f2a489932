"""Sizing: the same network for another input size or batch, tested by one run."""

import copy
import dataclasses
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from engines.errors import CardError, ModelFileError
from engines.models.card import InputSpec, ModelCard
from engines.models.fit import fit
from engines.models.model import Model
from engines.onnx_graph.editing import check, input_of, input_shape, run_on_zeros, tensor_facts
from engines.onnx_graph.grids import can_be_cut, cut, has_grids
from engines.onnx_graph.precision.wiring import CONSTANTS_ALONE_IR, constants, tensor_names, unused_name
from engines.types import Size

STRIDE, COARSEST = 32, 64
"""Proposed sizes are multiples of the coarsest stride of common networks; few have the second."""

SMALLEST, LARGEST = 8, 8192
LARGEST_BATCH = 256


def with_input_size(model: Any, card: ModelCard, size: Size | None, batch: int | Literal["dynamic"]) -> tuple[Any, ModelCard]:
    """A new onnx.ModelProto with an input of `size` (None: unchanged) and `batch`, and its card.

    Returns the given pair if nothing changes. Raises CardError for an invalid size or batch, ModelFileError if these are
    constants of the graph or do not work; its cure then proposes the nearest sizes that do.
    """
    size = size or card.input.size
    _check_size(card, size, batch)
    if not _changes(model, card, size, batch):
        return model, card
    if "peaks" in card.outputs and size != card.input.size and bakes_centres(model, card.outputs["peaks"]):
        # It would run, with every centre in the wrong place: the number of cells per row is a constant of the graph.
        raise ModelFileError(
            f"{card.name}: the input size {size_option(card.input.size)} is a constant of its graph",
            f"Export its checkpoint again at {size_option(size)}, or with an open size",
        )
    sized, sized_card, trouble = _attempt(model, card, size, batch)
    if not trouble:
        return sized, sized_card
    name = f"{card.name}: its network cannot run at {size_option(size)} (height x width), batch {batch}"
    if _rows_and_columns(model, card) == [size.height, size.width]:
        what = f"{name}: its batch is a constant of its graph ({trouble})"
        raise ModelFileError(what, "Export it again with an open batch, or leave out --batch")
    near = [found for found in _nearby(size) if not _attempt(model, card, found, batch)[2]]
    if near:
        raise ModelFileError(name, f"Use a size that works: {', '.join(map(size_option, near))}")
    raise ModelFileError(f"{name}: another size is a constant of its graph ({trouble})", "Export it again at that size")


def _attempt(model: Any, card: ModelCard, size: Size, batch: int | Literal["dynamic"]) -> tuple[Any, ModelCard, str]:
    """The network and its card for `size`, and why it does not run; empty if it does."""
    if can_be_cut(card.input.size, size) and has_grids(model, card.input.size):  # it would not run as a whole
        part = resized(cut(model, card.input.size, size), card, size, batch)
        if not _trouble(*part, batch):
            return *part, ""
    whole = resized(model, card, size, batch)
    return *whole, _trouble(*whole, batch)


def content_of(spec: InputSpec, frame: Size) -> Size:
    """The part of the input that a picture of this size fills."""
    return fit(frame, spec.size, spec.fit).content


def tight_size(spec: InputSpec, content: Size, stride: int = STRIDE) -> Size:
    """The input size without the padding around such a content, in steps of `stride`; the own if that saves a fifth or less."""
    width, height = (-(-length // stride) * stride for length in (content.width, content.height))
    tight = Size(min(width, spec.size.width), min(height, spec.size.height))
    worth_it = tight.width * tight.height <= 0.8 * spec.size.width * spec.size.height
    return tight if worth_it else spec.size


def sized_copy(model: Model, size: Size, folder: Path) -> Model:
    """The model for an input of `size`, written to `folder`. Raises what `with_input_size` raises."""
    import onnx

    if model.card.side_inputs:
        fed = ", ".join(model.card.side_inputs)
        what = f"{model.card.name}: takes {fed} in addition to the image, so its size is fixed"
        raise ModelFileError(what, "Leave out --size")
    network, card = with_input_size(onnx.load(model.path), model.card, size, 1)
    return saved(model, network, card, folder)


def saved(model: Model, network: Any, card: ModelCard, folder: Path) -> Model:
    """The model as `network`, written to `folder`."""
    import onnx

    path = folder / model.path.name
    onnx.save(network, str(path))
    return dataclasses.replace(model, card=card, path=path)


def bakes_centres(model: Any, peaks: str) -> bool:
    """Whether the graph divides cell numbers by a constant, the cells per row, before the output `peaks`."""
    makers = {output: node for node in model.graph.node for output in node.output}
    seen, waiting = set(), [peaks]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in ("Mod", "Div") and _constant(model, node.input[1]) is not None:
            return True
        if node.op_type in ("TopK", "Shape"):
            continue  # their inputs are values of cells, not cell numbers
        waiting += node.input
    return False


def _check_size(card: ModelCard, size: Size, batch: int | str) -> None:
    if not all(SMALLEST <= length <= LARGEST for length in (size.width, size.height)):
        what = f"{card.name}: an input of {size_option(size)} is too small or too large"
        raise CardError(what, f"Height and width must be {SMALLEST} to {LARGEST} pixels")
    if isinstance(batch, str) and batch != "dynamic":
        raise CardError(f'{card.name}: unknown batch "{batch}"', 'Give a number or "dynamic"')
    if isinstance(batch, int) and not 1 <= batch <= LARGEST_BATCH:
        raise CardError(f"{card.name}: batch {batch} is out of range", f"Give 1 to {LARGEST_BATCH}")


def _rows_and_columns(model: Any, card: ModelCard) -> list[int]:
    """Height and width of the network's input; 0 for an open one."""
    dims = input_of(model, card.input.tensor).type.tensor_type.shape.dim
    return [dim.dim_value for dim in (dims[2:4] if card.input.layout == "nchw" else dims[1:3])]


def size_option(size: Size) -> str:
    """The value of `--size`."""
    return f"{size.height}x{size.width}"


def _changes(model: Any, card: ModelCard, size: Size, batch: int | str) -> bool:
    dims = input_of(model, card.input.tensor).type.tensor_type.shape.dim
    now = [dim.dim_value for dim in dims]
    return size != card.input.size or now != list(input_shape(card.input, 0 if isinstance(batch, str) else batch))


def resized(model: Any, card: ModelCard, size: Size, batch: int | str) -> tuple[Any, ModelCard]:
    """A copy with input, outputs and Reshapes set to `size` and `batch`, and its card. Not tested yet."""
    new = copy.deepcopy(model)
    new.ir_version = max(model.ir_version, CONSTANTS_ALONE_IR)
    _free_reshapes(new, card)
    spec = msgspec.structs.replace(card.input, size_px=(size.width, size.height))
    dims = input_of(new, spec.tensor).type.tensor_type.shape.dim
    for dim, length in zip(dims, input_shape(spec), strict=True):
        dim.dim_value = length
    if isinstance(batch, str):
        dims[0].dim_param = "batch"
    else:
        dims[0].dim_value = batch
    del new.graph.value_info[:]
    facts = tensor_facts(new, spec, [value.name for value in new.graph.output])
    for value in new.graph.output:
        axes = value.type.tensor_type.shape.dim
        for axis, (open_dim, known) in enumerate(zip(axes, facts[value.name][1], strict=False)):
            open_dim.Clear()
            if axis == 0 and len(axes) > 2:
                open_dim.CopyFrom(dims[0])
            elif known:
                open_dim.dim_value = known
            else:
                open_dim.dim_param = f"{value.name}_{axis}"
    return new, msgspec.structs.replace(card, input=spec, sha256="")


def _free_reshapes(model: Any, card: ModelCard) -> None:
    """Let a Reshape with a constant batch of one keep the batch of its input."""
    import onnx

    facts = tensor_facts(model, card.input)
    for node in model.graph.node:
        if node.op_type != "Reshape" or any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute):
            continue
        shape = _constant(model, node.input[1])
        before = facts.get(node.input[0], (0, ()))[1]
        if shape is not None and len(shape) > 1 and shape[0] == 1 and before[:1] == (1,):
            name = unused_name(f"{node.input[1]}/any_batch", tensor_names(model.graph))
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, *shape[1:]], np.int64), name))
            node.input[1] = name


def _constant(model: Any, tensor: str) -> list[int] | None:
    """The numbers of an integer constant, or None if the tensor is not constant."""
    import onnx

    found = next((value for name, value in constants(model) if name == tensor), None)
    return None if found is None else [int(number) for number in onnx.numpy_helper.to_array(found).ravel()]


def _trouble(model: Any, card: ModelCard, batch: int | str) -> str:
    """Why `model` does not run at its card's size, in one line; empty if it does."""
    try:
        check(model, card.name)
        count = 2 if isinstance(batch, str) else batch  # a batch of one would not reveal a fixed one
        arrays = run_on_zeros(model, card.input, list(card.outputs.values()), count)
    except Exception as error:  # of private types; all mean that the network does not run
        text = " ".join(str(error).split())
        node = re.search(r"node name: ([^)\s]+)|Node ?\(([^)\s]+)\)", text)
        return f"it fails at the node {node[1] or node[2]}" if node else text[-160:]
    wrong = [name for name, array in zip(card.outputs.values(), arrays, strict=True) if array.ndim > 2 and len(array) != count]
    return f"output {wrong[0]} does not follow the batch" if wrong else ""


def _nearby(size: Size) -> Iterable[Size]:
    """The sizes around `size` whose sides are multiples of STRIDE."""
    sides = [
        sorted({max(STRIDE, length // STRIDE * STRIDE), -(-length // STRIDE) * STRIDE}) for length in (size.width, size.height)
    ]
    return [found for found in (Size(width, height) for width, height in product(*sides)) if found != size]
