"""Runs side by side: different ones, and one that was made again."""
