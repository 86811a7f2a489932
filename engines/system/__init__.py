"""What the program asks of its operating system: folders of the user, and an end that leaves nothing behind."""
