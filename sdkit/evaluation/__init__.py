"""Evaluation: what a split is worth, measured on codes and on decoded sequences."""
