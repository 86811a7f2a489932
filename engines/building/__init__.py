"""Building: from a model to an engine of this machine, measured before it is believed."""
