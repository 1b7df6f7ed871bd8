"""Scripts that measure ways of doing the same work, side by side in one run, and print tables."""
