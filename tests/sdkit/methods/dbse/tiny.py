"""Tiny models and settings of DBSE, with their own types."""

from typing import Any

from sdkit.methods.dbse.method import Dbse
from sdkit.methods.dbse.settings import DbseSettings
from tests.tiny import tiny_model, tiny_plan


def tiny_settings(variant: str = "paper", **changes: Any) -> DbseSettings:
    """Return the settings of a tiny model of a variant, with some changed."""
    settings = tiny_plan(variant, "dbse", **changes).settings
    assert isinstance(settings, DbseSettings)
    return settings


def tiny_dbse(variant: str = "paper", seed: int = 0, **changes: Any) -> Dbse:
    """Return a tiny model of a variant, as `tests.tiny.tiny_model`."""
    model = tiny_model(variant, seed, "dbse", **changes)
    assert isinstance(model, Dbse)
    return model
