"""TensorRT and TensorRT-RTX behind one interface: finding, building, loading and inspecting, for 10.3 to 11.x."""
