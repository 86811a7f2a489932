"""A network as a graph: reading, editing, shrinking outputs, casting. Knows onnx and NumPy; no model, no frame."""
