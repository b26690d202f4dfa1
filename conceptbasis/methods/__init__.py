"""Ways to bring a direction into the target: bases, baselines, controls."""
