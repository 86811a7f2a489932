"""One source's frames: through the model, over time, into pictures, and to the outlets."""
