"""A network as a graph: reading, editing, fusing, resizing, casting, exporting. Knows onnx and NumPy; no frame."""
