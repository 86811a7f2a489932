"""Shared parts of sinks: files that appear when they are complete."""
