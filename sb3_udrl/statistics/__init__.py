"""Means and deviations of data of any size."""
