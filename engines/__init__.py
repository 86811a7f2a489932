"""Image in, `Segmentation` out: models, the runtimes that run them, and how to read what they say."""
