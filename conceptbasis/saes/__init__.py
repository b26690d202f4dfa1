"""Everything about sparse autoencoders; the only importer of sae-lens."""
