"""Bundles on disk: the manifest, and a folder that is checked before any graph of it is loaded."""
