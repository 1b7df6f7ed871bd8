"""Graphs on disk: their signatures, writers, rewrites and precisions."""
