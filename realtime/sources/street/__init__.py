"""The synthetic street: a drawn scene whose truth is known to the pixel."""
