"""Evaluation of a trained model on a split, by its codes and by decoded sequences."""
