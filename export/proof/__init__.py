"""Proof that a bundle computes what its model computes."""
