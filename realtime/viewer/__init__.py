"""The window: shows the newest canvas and the figures, and changes the knobs. Knows sessions, not threads or models."""
