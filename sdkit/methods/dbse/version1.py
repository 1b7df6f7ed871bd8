"""Conversion of config.json of runs that were made while sdkit had one method."""

from typing import Any

OF_THE_DATA = ("element", "feature_mean", "feature_std")
WEIGHTS = ("alpha", "beta", "beta_static", "beta_dynamic", "likelihood")
"""Names of settings that were settings of training then and are settings of the method now."""


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """Return the content of such a config.json in today's form; any other content unchanged."""
    model, train, data = (config.get(name) for name in ("model", "train", "data"))
    if not (isinstance(model, dict) and isinstance(train, dict) and isinstance(data, dict)):
        return config
    settings = {name: value for name, value in model.items() if name not in OF_THE_DATA}
    settings |= {name: train[name] for name in WEIGHTS if name in train}
    facts = {name: model[name] for name in OF_THE_DATA if name in model}
    return {
        **{name: value for name, value in config.items() if name != "model"},
        "method": "dbse",
        "settings": settings,
        "facts": {**facts, "steps": data.get("steps", 0), "count": data.get("train_count", 0)},
        "train": {name: value for name, value in train.items() if name not in WEIGHTS},
    }
