"""Commands that study models beside a transfer, one file a command."""
