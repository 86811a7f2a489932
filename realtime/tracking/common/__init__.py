"""What trackers share: how objects move, and which detection belongs to which object."""
