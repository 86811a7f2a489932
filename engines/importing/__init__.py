"""Importing: a Keras model becomes an ONNX file with its card.

The network is translated layer by layer, from each layer's configuration and weights, rather than traced through
`keras.Model.export` or `torch.onnx.export`. Traced graphs depend on three packages' versions (two of which need more packages),
keep Keras' channels-last transposes around every convolution, and cannot become a sliding window, for which one has to know
where a Flatten ends and a Dense begins. Translated graphs are small, planar and the same for every Keras backend. A wrongly
translated layer is found by running Keras itself on the same pixels before anything is written. The price is a list of known
layers; the error for another layer names it.

files.py        a file's configuration, checked before anything is loaded
loaded.py       the only module that imports Keras: a model as plain steps, and its predictions
network.py      those steps, and the last activation, which tells what the outputs mean
maker.py        an ONNX graph under construction
layers.py, convolutions.py, activations.py, shapes.py, merging.py    the translation of each layer
translation.py  the whole graph, from a frame's pixels to logits
sliding.py      the positions of a small classifier's windows on a frame
cards.py        the meaning of the outputs
parity.py       the ONNX graph compared with Keras
importer.py     all of it, in order
"""

from __future__ import annotations

from engines.errors import EngineError


class KerasImportError(EngineError, ValueError):
    """A Keras model cannot be read or translated; the message names the file or the layer."""
