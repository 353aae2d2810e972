"""Training that is killed: nothing is lost, nothing is there twice. ``python -m benchmarks.kills`` kills it."""
