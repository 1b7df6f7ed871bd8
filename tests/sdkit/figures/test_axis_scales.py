from typing import Any

import numpy as np
import pytest

from sdkit.figures.axis_scales import UNKNOWN, Scales, frequency_axis, read_scales, time_axis
from sdkit.runtime.element import Element

SERIES, SPECTRUM = Element("series", (4, 3), "float32"), Element("spectrum", (6,), "float32")
VECTOR = Element("vector", (6,), "float32")


@pytest.mark.parametrize(
    ("attributes", "element", "expected"),
    [
        ({}, SERIES, UNKNOWN),
        ({"step": "1 hour"}, SERIES, Scales(3600.0)),
        ({"step": "15 minutes"}, SERIES, Scales(900.0)),
        ({"rate": 0.5, "step": "1 hour"}, SERIES, Scales(0.5)),  # a window of four steps every two seconds
        ({"rate": np.float32(100), "bin_spacing": "40 Hz"}, SPECTRUM, Scales(1 / 100, 40.0)),
        ({"rate": 50}, VECTOR, Scales(1 / 50)),
        ({"bin_spacing": "0.5 kHz"}, SPECTRUM, Scales(None, 500.0)),
        ({"step": "one hour", "bin_spacing": "wide"}, SERIES, UNKNOWN),
        ({"step": "0 hours", "bin_spacing": 40, "rate": "fast"}, SERIES, UNKNOWN),
        ({"rate": 5e-324, "bin_spacing": "9" * 400 + " Hz"}, SERIES, UNKNOWN),
        ({"rate": 1e300, "step": "9" * 5000 + " hours"}, SERIES, UNKNOWN),
    ],
)
def test_what_a_file_says(attributes: dict[str, Any], element: Element, expected: Scales) -> None:
    assert read_scales(attributes, element) == expected


@pytest.mark.parametrize(
    ("count", "seconds", "step", "label"),
    [
        (672, 3600.0, 1 / 24, "time (days)"),
        (48, 3600.0, 1.0, "time (h)"),
        (20, 0.01, 10.0, "time (ms)"),
        (600, 0.01, 0.01, "time (s)"),
        (40, 60.0, 1.0, "time (min)"),
        (20, None, 1.0, "frame"),
    ],
)
def test_time_has_the_largest_unit_that_suits(count: int, seconds: float | None, step: float, label: str) -> None:
    found, name = time_axis(count, seconds, "frame")
    assert found == pytest.approx(step)
    assert name == label


def test_frequency() -> None:
    assert frequency_axis(40.0) == (0.04, "frequency (kHz)")
    assert frequency_axis(None) == (1.0, "bin")
