"""Conditions, their measurement, figures and the verdict."""
