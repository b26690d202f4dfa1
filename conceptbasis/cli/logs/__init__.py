"""How single commands are logged on wandb."""
