"""Plans: built engines on disk, each with its passport. Reads and writes files; runs nothing."""
