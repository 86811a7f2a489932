"""Scores of tracks against ground truth: HOTA, IDF1, MOTA."""
