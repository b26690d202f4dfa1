"""Matching of SAE latents across models, and what a latent stands for."""
