"""Pure numerics on tensors; imports no model library, no path, no logger."""
