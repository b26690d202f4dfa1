"""The table of architectures, and the proof that a row describes a model."""
