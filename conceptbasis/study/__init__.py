"""One transfer's models, texts, sites and shared computations."""
