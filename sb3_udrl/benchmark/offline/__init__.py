"""Runs that learn from recordings: how these are made, how models learn from them, and how d3rlpy does."""
