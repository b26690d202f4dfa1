"""The only importers of transformers and sae_lens."""
