from typing import Any

import msgspec
import numpy as np
import pytest

from sdkit.runtime.element import Element, check_steps
from sdkit.runtime.errors import ConfigError, DataError

BYTES = Element("image", (3, 4, 5), "uint8", ("grey level",))
FLOATS = Element("image", (1, 4, 4), "float32")
SERIES = Element("series", (6, 2), "float32", ("mmHg", "bpm"), ("pressure", "pulse"))
SPECTRUM = Element("spectrum", (9,), "float32")
VECTOR = Element("vector", (5,), "float32", ("m", "rad", "rad", "m/s", "N"))


@pytest.mark.parametrize("element", [BYTES, FLOATS, SERIES, SPECTRUM, VECTOR], ids=lambda e: e.describe())
def test_check_returns_the_very_same_array(element: Element) -> None:
    x = np.full((2, 3, *element.shape), 1, element.dtype)
    assert element.check(x) is x


def test_describe() -> None:
    assert BYTES.describe() == "image (3, 4, 5) uint8"
    assert SERIES.describe() == "series (6, 2) float32"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("image", (4, 4)),
        ("image", (3, 0, 4)),
        ("series", (6,)),
        ("spectrum", (2, 3)),
        ("image", ()),
        ("vector", ()),
        ("vector", (4, 5)),
    ],
)
def test_shape_must_have_the_axes_of_its_kind(kind: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=f"kind {kind} has the axes"):
        Element(kind, shape, "uint8")


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="unknown kind of element 'text'; there are: image, series, spectrum, vector"):
        Element("text", (3,), "float32")
    with pytest.raises(msgspec.ValidationError, match=r"unknown kind of element 'text'.*at `"):
        msgspec.json.decode(b'[{"kind": "text", "shape": [3], "dtype": "float32"}]', type=list[Element])


def test_vectors_are_no_bytes() -> None:
    with pytest.raises(ConfigError, match="an element of kind vector is float32, not uint8"):
        Element("vector", (3,), "uint8")


@pytest.mark.parametrize(
    ("element", "features", "steps", "drawable"),
    [
        (BYTES, 0, 1, True),
        (Element("image", (2, 4, 4), "uint8"), 0, 1, False),
        (SERIES, 2, 6, True),
        (SPECTRUM, 9, 1, True),
        (VECTOR, 5, 1, True),
    ],
)
def test_what_an_element_is_made_of(element: Element, features: int, steps: int, drawable: bool) -> None:
    assert (element.features, element.steps, element.drawable) == (features, steps, drawable)


@pytest.mark.parametrize(
    ("element", "x", "words"),
    [
        (BYTES, np.zeros((2, 3, 4, 5), np.uint8), ["shape (2, 3, 4, 5)", "expected (B, T, 3, 4, 5) uint8"]),
        (BYTES, np.zeros((2, 3, 4, 5, 3), np.uint8), ["shape (2, 3, 4, 5, 3)", "expected (B, T, 3, 4, 5) uint8"]),
        (BYTES, np.zeros((2, 3, 3, 4, 5), np.float32), ["is float32", "(B, T, 3, 4, 5) uint8", "convert it first"]),
        (FLOATS, np.zeros((2, 3, 1, 4, 4), np.float64), ["is float64", "float32"]),
        (BYTES, np.zeros((0, 3, 3, 4, 5), np.uint8), ["is empty"]),
        (BYTES, np.zeros((2, 1, 3, 4, 5), np.uint8), ["T = 1", "at least 2 elements"]),
        (FLOATS, np.full((2, 3, 1, 4, 4), 255, np.float32), ["from 255 to 255", "[0, 1]"]),
        (FLOATS, np.full((2, 3, 1, 4, 4), -0.5, np.float32), ["from -0.5 to -0.5", "[0, 1]"]),
        (SERIES, np.full((2, 3, 6, 2), np.inf, np.float32), ["infinite", "NaN stands for 'not observed'"]),
        (SPECTRUM, np.full((2, 3, 9), -np.inf, np.float32), ["infinite"]),
        (VECTOR, np.full((2, 3, 5), np.inf, np.float32), ["infinite", "NaN stands for 'not observed'"]),
        (VECTOR, np.zeros((2, 3, 4), np.float32), ["shape (2, 3, 4)", "expected (B, T, 5) float32"]),
    ],
)
def test_check_says_what_is_wrong(element: Element, x: Any, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        element.check(x, "file.h5: data set 'data'")
    message = str(caught.value)
    assert message.startswith("file.h5: data set 'data' ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_must_be_complete_and_the_first_bad_pixel_is_named(value: float) -> None:
    x = np.zeros((2, 3, 1, 4, 4), np.float32)
    x[1, 2, 0, 3, 1] = x[1, 2, 0, 3, 2] = value
    with pytest.raises(DataError, match=r"NaN or infinite pixels, the first at \[1, 2, 0, 3, 1\]"):
        FLOATS.check(x)


@pytest.mark.parametrize("element", [SERIES, SPECTRUM, VECTOR], ids=lambda e: e.kind)
def test_nan_means_not_observed(element: Element) -> None:
    x = np.full((2, 3, *element.shape), np.nan, np.float32)
    assert element.check(x) is x


def test_cast_rounds_and_clips_to_the_element() -> None:
    x = np.array([-3.0, 0.5, 1.5, 1.6, 254.6, 300.0], np.float32)
    assert BYTES.cast(x).tolist() == [0, 0, 2, 2, 255, 255]
    assert BYTES.cast(x).dtype == np.uint8
    np.testing.assert_array_equal(FLOATS.cast(np.array([-1, 0.25, 2], np.float32)), np.array([0, 0.25, 1], np.float32))
    np.testing.assert_array_equal(SERIES.cast(np.array([-1, 300], np.float32)), np.array([-1, 300], np.float32))


def test_high() -> None:
    assert (BYTES.high, FLOATS.high, VECTOR.high) == (255.0, 1.0, 1.0)


def test_check_steps() -> None:
    check_steps(1, 2, "x")
    with pytest.raises(DataError, match="x is empty"):
        check_steps(0, 2, "x")
    with pytest.raises(DataError, match="x has T = 1"):
        check_steps(1, 1, "x")
