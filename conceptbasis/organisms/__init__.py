"""Model organisms: small language models with a known world, trained from scratch."""
