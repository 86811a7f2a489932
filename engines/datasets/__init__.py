"""Labelled images on disk: what a set's classes mean, which images are held out, and whether the files are sound."""
