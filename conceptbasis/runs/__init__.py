"""A run folder: files, stages, ledger, progress, executor."""
