"""How good a model is: scores against labelled images, for any model on any backend. Needs no torch."""
