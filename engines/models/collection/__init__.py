"""The user's own models: add, download, verify, remove. `engines.models.zoo` finds them by name."""
