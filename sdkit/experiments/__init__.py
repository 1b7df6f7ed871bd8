"""Experiments: reproductions of the paper's tables, and the search for settings."""
