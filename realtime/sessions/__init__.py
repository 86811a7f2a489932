"""A run as its user sees it: behind a window, or headless."""
