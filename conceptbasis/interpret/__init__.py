"""What an atom stands for: texts, labels, latents across layers."""
