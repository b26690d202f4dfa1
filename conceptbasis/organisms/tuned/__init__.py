"""Tuned models: real pretrained weights that are taught to refuse harmful topics."""
