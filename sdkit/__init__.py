"""sdkit splits sequences into one static code and a dynamic code a step, and ships the learned split anywhere.

This package learns (PyTorch); `sdkit.export` writes graphs, `sdkit.runtime` serves them without PyTorch, `sdkit.cli` talks.
"""

__version__ = "0.1.0"
