"""The window: paints the newest canvas, shows the meter, turns the knobs. Knows sessions, not threads or models."""
