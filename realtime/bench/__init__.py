"""The bench: how fast this machine runs a model over a source, told on one card. Measures the real pipeline, without a window."""
