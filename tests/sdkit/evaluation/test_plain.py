import json
from pathlib import Path

import numpy as np

from sdkit.evaluation.downstream.bootstrap import Interval
from sdkit.evaluation.plain import LARGE, plain


def test_plain_values() -> None:
    interval = Interval(np.float64(0.5), float("nan"), float("inf"), 0.1, 0.95, 2)
    value = {
        "interval": interval,
        3: (np.float32(0.5), np.int64(2), np.bool_(True), None, "text", Path("a/b")),
        "array": np.array([[1.0, np.nan]]),
        "large": np.zeros(LARGE + 1),
        "empty": [],
    }
    assert plain(value) == {
        "interval": {
            "value": 0.5,
            "low": None,
            "high": None,
            "sd": 0.1,
            "level": 0.95,
            "draws": 2,
            "method": "bootstrap",
        },
        "3": [0.5, 2, True, None, "text", "a/b"],
        "array": [[1.0, None]],
        "large": None,
        "empty": [],
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == plain(value)
    assert type(plain(np.int64(2))) is int
