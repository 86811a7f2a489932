"""TensorRT and TensorRT-RTX as one thing: found, asked to build, asked to load, asked what it built. One path, 10.3 to 11.x."""
