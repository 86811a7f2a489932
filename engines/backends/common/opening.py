"""What backends share: a model of another size, engines on the CPU and what these feed a network, errors in one line."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engines.backends import EngineOptions, Inference
from engines.loading import HARMFUL_OPTIMISERS, import_onnxruntime, not_loaded
from engines.models.card import ModelCard
from engines.models.fit import InputFiller
from engines.models.model import Model
from engines.models.sizing import sized_copy
from engines.onnx_graph.precision.weights import has_half_scales
from engines.onnx_graph.reading import TensorFacts
from engines.system.unfinished import temporary_folder
from engines.types import Image, Outputs

log = logging.getLogger(__name__)

Array: TypeAlias = npt.NDArray[np.generic]


@contextmanager
def at_size(model: Model, options: EngineOptions) -> Iterator[Model]:
    """The model with the input that is asked for, or else the one that fits. Its file is there until the context ends.

    Raises ModelFileError or CardError where the network cannot have the size that is asked for.
    """
    size, fitting = options.size, model.fitting if options.input_px == "auto" else None
    if size == model.card.input.size or (size is None and (fitting is None or fitting.refused)):
        yield model
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder())
        except OSError as error:  # the disk is full; only a size that is asked for needs it
            if size is not None:
                raise
            log.info("%s keeps its input size: %s", model.card.name, one_line(error))
            yield model
            return
        if size is not None:
            yield sized_copy(model, size, folder)
        else:
            assert fitting is not None
            yield fitting.copy(model, folder) or model


def load_onnxruntime(package: str) -> Any:
    """ONNX Runtime's module. `package`: what brings it. Raises BackendUnavailableError where it does not load."""
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise not_loaded("ONNX Runtime", package, error) from error


def harmful_optimisers(network: Any) -> list[str]:
    """The optimisers of ONNX Runtime that must not touch a network, an onnx.ModelProto."""
    return list(HARMFUL_OPTIMISERS) if has_half_scales(network) else []


def one_line(error: Exception) -> str:
    """One line, and of a long one its end: it begins with paths and ends with the reason."""
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else f"...{line[-200:]}"


class CpuEngine:
    """An engine that takes and gives arrays. A subclass adds `description`, `_run`, `cancel` and `close`."""

    def __init__(self, model: Model) -> None:
        self.card = model.card
        self._fill = InputFiller(model.card.input)
        self._input = model.card.input.tensor
        self._side = SideInputs(model.card, model.inputs)
        self._outputs = tuple(model.card.outputs.values())
        self._asked = list(dict.fromkeys((*self._outputs, *self._side.outputs)))

    def _run(self, feeds: dict[str, Any]) -> Outputs:
        """The outputs `_asked`, valid until the next run. feeds: arrays by input tensor. Raises InferenceError."""
        raise NotImplementedError

    def infer(self, image: Image, stream: int = 0) -> Inference:
        start = time.perf_counter()
        tensor, geometry = self._fill(image)
        filled = time.perf_counter()
        by_name = self._run({self._input: tensor, **self._side.feeds(stream)})
        done = time.perf_counter()
        self._side.keep(stream, by_name)
        outputs = {name: by_name[name] for name in self._outputs}
        return Inference(outputs, geometry, (filled - start) * 1e3, (done - filled) * 1e3)

    def forget(self, stream: int) -> None:
        self._side.forget(stream)

    def reset(self) -> None:
        self._side.reset()


class SideInputs:
    """The arrays beside the image. Each stream of frames has its own states; a stream is known by a number."""

    def __init__(self, card: ModelCard, inputs: Sequence[TensorFacts]) -> None:
        """inputs: the network's, as its file declares them; those that the card names beside the image are fed."""
        by_name = {tensor.name: tensor for tensor in inputs}
        self._back_from = dict(card.states)
        self._constants = {name: _filled(by_name[name], number) for name, number in card.constants.items()}
        # An open dimension becomes 1: networks that leave it open take what broadcasts, and give the true size back.
        self._first = {name: _filled(by_name[name], 0) for name in card.states}
        self._states: dict[int, dict[str, Array]] = {}
        self.outputs = tuple(self._back_from.values())
        """The output tensors that `keep` copies."""

    def feeds(self, stream: int) -> dict[str, Array]:
        """Arrays by input tensor; not to be written to."""
        return {**self._constants, **self._states.get(stream, self._first)}

    def keep(self, stream: int, outputs: Outputs) -> None:
        """Copy the states of the run that has just ended: the runtime may write over its outputs in the next one."""
        if self._back_from:
            self._states[stream] = {
                name: np.array(outputs[output], self._first[name].dtype) for name, output in self._back_from.items()
            }

    def forget(self, stream: int) -> None:
        """The next frame of `stream` starts from zero states."""
        self._states.pop(stream, None)

    def reset(self) -> None:
        """So does every stream's."""
        self._states.clear()


def _filled(tensor: TensorFacts, number: float) -> Array:
    return np.full([length or 1 for length in tensor.shape], number, tensor.dtype)
