"""Shared parts of the sources."""
