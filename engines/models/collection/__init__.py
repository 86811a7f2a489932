"""The user's own models: added from a file or downloaded, checked, removed. `engines.models.zoo` finds them by name."""
