"""Training of the project's own models, and of anybody's on their own images: `run.py train`, `teach`, `export CHECKPOINT`.

The only room that knows torch; it comes with the extra `train` (`pip install -e ".[train]"`). Only those commands import it.
"""
