"""Importing: a Keras model becomes an ONNX file with its card.

The network is translated layer by layer, from each layer's configuration and weights; docs/decisions.md says why not traced.
A sliding window has to know where a Flatten ends and a Dense begins. A wrongly translated layer is found by running Keras itself
on the same pixels before anything is written. The price is a list of known layers; the error for another layer names it.

`importer` does it in order: `files` checks, `loaded` reads with Keras, `translation` makes the graph with `layers` and the other
modules for single layers, `cards` finds the meaning of the outputs, `parity` compares.
"""

from engines.errors import EngineError


class KerasImportError(EngineError, ValueError):
    """A Keras model cannot be read or translated; the message names the file or the layer."""
