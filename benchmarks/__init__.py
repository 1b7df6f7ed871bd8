"""Scripts that measure, side by side in one run, and print tables."""
