"""The version, where every part can read it without importing the front page `sdkit`."""

__version__ = "0.1.0"
