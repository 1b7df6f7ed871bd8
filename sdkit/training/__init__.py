"""Training: settings, batches, the loop, run folders."""
