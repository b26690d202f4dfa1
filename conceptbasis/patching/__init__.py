"""Which heads and MLPs carry a task: activation patching, circuits, and how far they are shared."""
