"""What is done to a model, on which layers and how strongly."""
