"""What a run does when the machine, the disk, the user or another program gets in its way."""
