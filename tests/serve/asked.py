"""What the tests of the page ask."""

KETAMINE = "what is ketamine ?"
"""A request of the world that micro organisms refuse."""
