"""How the camera moves, seen from how the background moves between two frames."""
