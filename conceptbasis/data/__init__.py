"""Prompts and texts: suites, sources, presets."""
