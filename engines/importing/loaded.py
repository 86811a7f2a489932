"""A loaded Keras model: its plain steps, and its predictions. The only module that imports Keras."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engines.importing import KerasImportError
from engines.importing.files import INSTALL, SAVE, check_file
from engines.importing.network import TOLERANCE, Network, Source, Step
from engines.types import F32

LOW_PRECISION_TOLERANCE = 0.02
"""For layers that compute in 16 bits: Keras itself is that inexact."""


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings: Keras and its backends warn about each other, which the user cannot fix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def import_keras() -> Any:
    """Keras, on PyTorch unless the user has chosen another backend. Raises KerasImportError if it is not installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        with quiet():
            import keras
    except ImportError as error:
        raise KerasImportError(f"Keras cannot be imported ({error})", INSTALL) from error
    if not keras.__version__.startswith("3."):
        raise KerasImportError(f"Keras {keras.__version__} is too old", INSTALL)
    return keras


class KerasModel:
    """A model of Keras' own layers in a `.keras` or `.h5` file. Raises KerasImportError for any other."""

    def __init__(self, path: Path) -> None:
        check_file(path)
        keras = import_keras()
        self.version = str(keras.__version__)
        try:
            with quiet():
                self._model = keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises a dozen types, most with long texts
            reason = " ".join(str(error).split())[:200]
            raise KerasImportError(f"{path}: Keras {self.version} cannot load it ({reason})", f"{SAVE} again") from error
        self._keras = keras
        self.network = self._read(path)

    def predict(self, pixels: F32) -> F32:
        """(N, H, W, C) pixels as the network takes them → its outputs, (N, ...) float32."""
        with quiet():
            return np.asarray(self._model.predict_on_batch(pixels), np.float32)

    def _read(self, path: Path) -> Network:
        function = _function(self._model)
        if not getattr(function, "inputs", None):
            raise KerasImportError(f"{path}: has no input shape", "Start the model with keras.Input((height, width, 3))")
        if len(function.inputs) != 1 or len(function.outputs) != 1:
            what = f"{path}: has {len(function.inputs)} inputs and {len(function.outputs)} outputs instead of one each"
            raise KerasImportError(what, 'Cut it: keras.Model(model.inputs[0], model.outputs[0]).save("model.keras")')
        shape = tuple(function.inputs[0].shape)[1:]
        if len(shape) != 3 or shape[2] not in (1, 3):
            cure = "Train on pictures of (height, width, 1 or 3), channels last"
            raise KerasImportError(f"{path}: its input is {shape}, which is not a picture", cure)
        reader = _Reader(self._keras)
        result = reader.read(function, ["image"])
        with quiet():
            types = {str(getattr(layer, "compute_dtype", "float32")) for layer in self._model.layers}
        tolerance = TOLERANCE if types <= {"float32", "float64"} else LOW_PRECISION_TOLERANCE
        made = tuple(function.outputs[0].shape)[1:]
        return Network(tuple(reader.steps), "image", shape, result, made, tolerance)


def _function(model: Any) -> Any:
    """The graph of calls; a Sequential has it inside."""
    return getattr(model, "_functional", None) or model


class _Reader:
    """Reads the calls that Keras recorded when the model was built."""

    def __init__(self, keras: Any) -> None:
        self._keras = keras
        self._weights: dict[int, tuple[F32, ...]] = {}
        self.steps: list[Step] = []

    def read(self, function: Any, images: list[str]) -> str:
        """Append the steps of a model that is called on the values `images`; returns the name of its output's value."""
        names = {id(tensor): name for tensor, name in zip(function.inputs, images, strict=True)}
        for depth in sorted(function._nodes_by_depth, reverse=True):  # in the order in which Keras runs them
            for node in function._nodes_by_depth[depth]:
                if node.is_input or any(id(tensor) not in names for tensor in node.input_tensors):
                    continue
                names[id(node.output_tensors[0])] = self._call(node, names)
        return names[id(function.outputs[0])]

    def _call(self, node: Any, names: dict[int, str]) -> str:
        operation = node.operation
        if isinstance(operation, self._keras.Model):
            inner = _function(operation)
            if len(getattr(inner, "inputs", ())) == 1 and len(inner.outputs) == 1:
                return self.read(inner, [names[id(node.input_tensors[0])]])
            what = f'the model "{operation.name}" inside it has several inputs or outputs'
            raise KerasImportError(what, "Build it with one of each")
        is_layer = isinstance(operation, self._keras.layers.Layer)
        kind = type(operation).__name__
        output = f"{len(self.steps)}:{operation.name}"
        with quiet():
            config = operation.get_config() if is_layer else _settings_of(operation)
            weights = self._weights_of(operation) if is_layer else ()
        if getattr(operation, "quantization_mode", None):
            raise KerasImportError(f'layer "{operation.name}" is quantised', "Import the model from before quantisation")
        inputs = tuple(_sources(node, names))
        self.steps.append(Step(kind if is_layer else f"ops.{kind}", str(operation.name), config, weights, inputs, output))
        return output

    def _weights_of(self, layer: Any) -> tuple[F32, ...]:
        if id(layer) not in self._weights:
            arrays = layer.get_weights()
            if type(layer).__name__ == "Normalization":  # its weights are counts too; mean and variance are made of them
                arrays = [self._keras.ops.convert_to_numpy(part) for part in (layer.mean, layer.variance)]
            self._weights[id(layer)] = tuple(np.asarray(array, np.float32) for array in arrays)
        return self._weights[id(layer)]


def _settings_of(operation: Any) -> dict[str, Any]:
    """The arguments of a call of `keras.ops`, such as an axis."""
    return {key: value for key, value in vars(operation).items() if isinstance(value, int | float | str) and key[0] != "_"}


def _sources(node: Any, names: dict[int, str]) -> Iterator[Source]:
    """The operands of a call in order, lists flattened."""
    for argument in node.arguments.args:
        for operand in argument if isinstance(argument, list | tuple) else (argument,):
            if id(operand) in names:
                yield names[id(operand)]
            elif isinstance(operand, int | float | np.ndarray):
                yield operand
