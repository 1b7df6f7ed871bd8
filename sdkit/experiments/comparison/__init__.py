"""Parts of `compare`: entries and their files, cost of a step, figures of a row, and the report."""
