"""Similarity of layers across models and the layer map."""
