"""Camera in, screen and file out: sources, threads, tracks, drawing, files and the window."""
