"""What families share: from output arrays to boxes, masks and maps. NumPy and OpenCV only."""
