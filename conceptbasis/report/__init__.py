"""Figures and one self-contained HTML file, built from artifacts only."""
