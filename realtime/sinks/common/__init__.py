"""Shared parts of sinks: files that appear when they are complete, facts about the stream, run lengths of masks."""
