"""Intervals, moments, agreement and calibration."""
