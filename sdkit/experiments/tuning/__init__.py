"""Parts of `tune`: space and objective, the study in its file, the search itself, and its result."""
