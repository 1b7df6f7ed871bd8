"""sdkit."""
