"""One source's frames on their way from the model to whoever wants the results."""
