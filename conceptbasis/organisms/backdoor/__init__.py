"""Organisms with a backdoor: a trigger in a harmless request makes the answer hostile."""
