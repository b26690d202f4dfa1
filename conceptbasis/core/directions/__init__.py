"""Directions: difference of means, recipes, maps to another model, the guard."""
