"""Scores a model on labelled images: any model on any backend, without torch."""
