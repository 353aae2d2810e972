"""Files without pickles: plain JSON, arrays and tensors, and nothing that runs when it is read."""
