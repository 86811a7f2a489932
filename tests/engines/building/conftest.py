"""`start` starts build jobs."""

from .jobs import start

__all__ = ["start"]
