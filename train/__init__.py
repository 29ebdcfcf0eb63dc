"""Training: one step, the loop over batches, losses, evaluation, checkpoints."""
