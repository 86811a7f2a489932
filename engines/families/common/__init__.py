"""What families share: how networks are recognised."""
