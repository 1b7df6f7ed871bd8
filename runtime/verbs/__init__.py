"""Encode, decode, swap, generate and the other verbs: on arrays, over files, and on live streams."""
