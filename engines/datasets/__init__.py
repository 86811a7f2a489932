"""Labelled images on disk: their classes and splits, reading them, and checking a whole set."""
