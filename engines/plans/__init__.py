"""Plans: built engines on this machine's disk, each with its passport. Reads and writes files; runs nothing."""
