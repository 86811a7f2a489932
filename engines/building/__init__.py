"""Building: from a model to an engine for this machine, whose precision and results are measured."""
