"""Measures what this machine does with a model and a source."""
