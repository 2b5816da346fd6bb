"""Pure functions of tensors: sum over the dimensions of a sample, mean over the batch."""
