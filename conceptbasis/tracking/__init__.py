"""wandb: what is logged, and reading what was logged; only the command line imports it."""
