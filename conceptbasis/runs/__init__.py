"""A run folder: files, graph of stages, random streams, progress, executor."""
