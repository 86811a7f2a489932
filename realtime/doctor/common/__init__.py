"""What checks share: verdicts, the doors to the machine, packages."""
