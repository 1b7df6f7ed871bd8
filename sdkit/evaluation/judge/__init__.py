"""The judge, a classifier trained on labels, and scores of its answers on decoded sequences."""
