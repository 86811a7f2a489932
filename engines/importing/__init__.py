"""Importing: a Keras model becomes an ONNX file with its card.

The network is translated layer by layer, from each layer's configuration and weights, rather than traced through
`keras.Model.export` or `torch.onnx.export`. Traced graphs depend on three packages' versions (two of which want more packages),
carry Keras' channels-last transposes around every convolution, and can't be turned into a sliding window, which needs to know
where a Flatten ends and a Dense begins. Translated ones are small, planar, and the same whatever backend Keras runs on; what
may go wrong instead, a layer that is read wrongly, is caught by running Keras itself on the same pixels before anything is
written. The price is a list of known layers: another one is told by its name.

files.py    what a file says of itself, before anything of it is loaded
loaded.py   the only module that imports Keras: a model as plain steps, and its answers
network.py  those steps
maker.py    an ONNX graph in the making
layers.py, convolutions.py, activations.py, shapes.py, merging.py    what each layer becomes
head.py     what the last activation says about the outputs
pixels.py   from a frame's pixels to the network's input, inside the graph
sliding.py  where a small classifier's windows lie on a frame
translation.py    the whole graph
cards.py    what the outputs mean
parity.py   the written file against Keras
importer.py all of it, in order
"""
