"""From a name or folder to a model in memory."""
