"""Training of the project's own models: `python -m engines.training train | export | evaluate`.

The only room that knows torch; it comes with the extra `train` (`pip install -e ".[train]"`). Nothing outside imports it.
"""
