"""Micro-benchmarks: what learning costs beside the environment and the network. ``python -m benchmarks`` prints the marks."""
