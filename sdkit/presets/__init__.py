"""Presets: one TOML file of settings each, with where every value comes from."""
