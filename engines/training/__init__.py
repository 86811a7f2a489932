"""Training of the project's own models, and of anybody's on their own images: `run.py train`, `teach`, and `export` of a checkpoint.

The only room that knows torch; it comes with the extra `train` (`pip install -e ".[train]"`). Nothing imports it but those commands.
"""
