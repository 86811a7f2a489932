"""Shared parts of the trackers: motion, association, appearance, the track table."""
