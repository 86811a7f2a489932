"""The GPU: driver, context, memory, streams, graphs and kernels. Depends on arrays and pixels, not on models or cameras."""
