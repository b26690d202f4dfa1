"""Models and adapters as folders that other programs load."""
