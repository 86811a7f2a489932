"""The user's own models: added from a file or downloaded, checked, removed. `engines.zoo` finds them by name."""
