"""The residual stream: reading it, editing it, the weights that write to it."""
