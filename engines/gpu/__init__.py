"""The GPU: driver, context, buffers, streams, graphs and kernels. Knows arrays and pixels; no model, no card, no camera."""
