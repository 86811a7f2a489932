"""A model as data: its card, its file, what the file does not say, where models are found by name, and models in another form."""
