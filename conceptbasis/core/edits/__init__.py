"""Formulas of edits, and the gates that decide where one acts."""
