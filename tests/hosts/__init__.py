"""Hosts in other languages, held against the Python runtime."""
