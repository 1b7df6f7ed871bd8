"""Presets: one TOML file of settings each, with where every value comes from."""

from importlib import resources


def names() -> list[str]:
    """Return the names of the presets."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
