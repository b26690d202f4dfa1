"""Settings: one frozen section for each stage, and what a model file may say."""
