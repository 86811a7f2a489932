"""A model as data: its card, its file, what the file does not say, and where models are found by name."""
