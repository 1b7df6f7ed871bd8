"""Kinds as objects: where they are found, and that chance values and casts of each stay what they were."""

import hashlib
from typing import Any

import numpy as np
import pytest

from sdkit.export.proof.cases import Scale, sample
from sdkit.runtime import kinds
from sdkit.runtime.bundles.manifest import Manifest, schema
from sdkit.runtime.element import Array, DTypeName, Element
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.measure.bench import draw

BYTES = Element("image", (3, 20, 12), "uint8")
FLOATS = Element("image", (1, 16, 16), "float32")
SERIES = Element("series", (4, 3), "float32")
SPECTRUM = Element("spectrum", (9,), "float32")
VECTOR = Element("vector", (9,), "float32")
ELEMENTS = (BYTES, FLOATS, SERIES, SPECTRUM, VECTOR)


def digest(x: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16]


def scale_of(element: Element) -> Scale | None:
    """Return a scale of features, where an element has any."""
    f = np.arange(element.features, dtype=np.float32)
    return Scale(f, 1 + f) if element.features else None


def manifest_of(element: Element, scale: Scale | None) -> Manifest:
    class Known:
        feature_mean, feature_std = ((), ()) if scale is None else (tuple(v.tolist()) for v in scale)

    Known.element = element  # type: ignore[attr-defined]
    return Known()  # type: ignore[return-value]


def test_kinds_are_found_by_the_names_of_their_files() -> None:
    assert kinds.names() == ("image", "series", "spectrum", "vector")
    for name, kind in zip(kinds.names(), kinds.kinds(), strict=True):
        assert kind is kinds.find(name)
        assert kind.name == name
    with pytest.raises(ConfigError, match="unknown kind of element 'base'; there are: image, series, spectrum, vector"):
        kinds.find("base")


def test_what_a_file_that_names_no_kind_is_read_as() -> None:
    found = {axes: kinds.by_axes(axes) for axes in range(7)}
    assert {axes: kind.name for axes, kind in found.items() if kind} == {3: "spectrum", 4: "series", 5: "image"}
    assert kinds.windowed().name == "series"
    assert kinds.layouts() == (
        "(N, T, C, H, W) images, (N, T, W, F) windows of a series, (N, T, F) spectrum frames or (N, T, F) vectors"
    )


def test_traits() -> None:
    def those(trait: str) -> list[str]:
        return [kind.name for kind in kinds.kinds() if getattr(kind, trait)]

    assert those("standardised") == ["series", "spectrum", "vector"]
    assert those("incomplete") == ["series", "spectrum", "vector"]
    assert those("pictorial") == ["image"]
    assert those("windowed") == ["series"]
    assert those("spectral") == ["spectrum"]


def test_the_schema_of_the_manifest_lists_them() -> None:
    assert schema()["$defs"]["Element"]["properties"]["kind"] == {"type": "string", "enum": list(kinds.names())}


SAMPLES: list[tuple[Element, bool, str]] = [
    (BYTES, False, "be6997d46bb8ef8f"),
    (FLOATS, False, "16e03fe822d9b601"),
    (SERIES, False, "882236a374ce6f26"),
    (SERIES, True, "135c44c0c7e728a9"),
    (SPECTRUM, False, "afababf1947a8383"),
    (SPECTRUM, True, "1adb9e73a819dcda"),
]
"""Of the chance values that bundles made before were proven with."""


@pytest.mark.parametrize(("element", "scaled", "expected"), SAMPLES)
def test_samples_are_those_of_before(element: Element, scaled: bool, expected: str) -> None:
    assert digest(sample(element, 2, 3, 20, scale_of(element) if scaled else None)) == expected


DRAWN: list[tuple[Element, bool, int, str]] = [
    (BYTES, False, 0, "774149e43679cc49"),
    (BYTES, False, 1, "c12ba9eb8ea034c4"),
    (FLOATS, False, 0, "f74293bde90d3e30"),
    (SERIES, False, 0, "245bd21001f07f8b"),
    (SERIES, True, 1, "98ba5b7f57aa820c"),
    (SPECTRUM, False, 0, "3e8b591a9865855a"),
    (SPECTRUM, True, 1, "a32f097c9c559897"),
]


@pytest.mark.parametrize(("element", "scaled", "seed", "expected"), DRAWN)
def test_data_of_benchmarks_are_those_of_before(element: Element, scaled: bool, seed: int, expected: str) -> None:
    assert digest(draw(manifest_of(element, scale_of(element) if scaled else None), 4, 3, seed)) == expected


CAST: list[tuple[Element, float, str]] = [
    (BYTES, 200, "ff752187915c9861"),
    (FLOATS, 1, "21610f099428d6cb"),
    (SERIES, 1, "a0bdf3152211179e"),
    (SPECTRUM, 1, "f659bc58ffc855e4"),
]


@pytest.mark.parametrize(("element", "factor", "expected"), CAST)
def test_casts_are_those_of_before(element: Element, factor: float, expected: str) -> None:
    x = np.random.default_rng(0).normal(0.5, 1, (2, 3, *element.shape)).astype(np.float32) * np.float32(factor)
    assert digest(element.cast(x)) == expected


@pytest.mark.parametrize("element", ELEMENTS, ids=Element.describe)
def test_chance_sequences_are_of_their_element(element: Element) -> None:
    scale = scale_of(element)
    for x in (sample(element, 2, 3, 1, scale), draw(manifest_of(element, scale), 2, 3)):
        assert element.check(x) is x
        assert x.shape == (2, 3, *element.shape)


def test_samples_have_gaps_where_data_have() -> None:
    missing = {e.describe(): float(np.isnan(sample(e, 8, 20, 1).astype(np.float32)).mean()) for e in ELEMENTS}
    gaps = {name: share for name, share in missing.items() if share}
    assert set(gaps) == {SERIES.describe(), VECTOR.describe()}
    assert all(0.05 < share < 0.15 for share in gaps.values())


def test_vectors_are_as_they_come() -> None:
    x = np.array([[[np.nan, -1e9, 300.4]] * 2], np.float32)
    element = Element("vector", (3,), "float32")
    assert element.check(x) is x
    np.testing.assert_array_equal(element.cast(x), x)
    assert (element.features, element.steps, element.high, element.drawable) == (3, 1, 1.0, True)


@pytest.mark.parametrize(
    ("axes", "dtype", "named", "expected"),
    [
        (3, "float32", False, ["spectrum"]),
        (3, "float32", True, ["vector"]),
        (3, "uint8", True, ["vector"]),
        (4, "float32", False, ["series"]),
        (4, "float64", True, ["series"]),
        (4, "uint8", False, ["image", "series"]),
        (5, "int64", False, ["image"]),
        (2, "float32", True, []),
    ],
)
def test_what_an_array_is_likely_to_hold(axes: int, dtype: str, named: bool, expected: list[str]) -> None:
    found = [kind.name for kind in kinds.kinds() if kind.suggests(axes, np.dtype(dtype), named=named)]
    assert found == expected


def test_images_are_arranged() -> None:
    kind = kinds.find("image")
    x: Any = np.arange(2 * 3 * 4 * 5 * 3).reshape(2, 3, 4, 5, 3)
    found, done = kind.arranged(x)
    np.testing.assert_array_equal(found, np.moveaxis(x, 4, 2))
    assert done.startswith("channels are last in (2, 3, 4, 5, 3)")
    grey, done = kind.arranged(x[..., 0])
    assert grey.shape == (2, 3, 1, 4, 5)
    assert done == "(2, 3, 4, 5) are taken as grey images (N, T, H, W)"
    assert kind.arranged(found) == (found, "")
    assert [kind.misordered(shape) for shape in ((2, 3, 3, 4, 3), (2, 3, 4, 5, 4))] == ["", ""]


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_dtypes_that_numbers_are_stored_in(dtype: str) -> None:
    stored: dict[str, DTypeName] = {kind.name: kind.stored(np.dtype(dtype)) for kind in kinds.kinds()}
    image = "uint8" if dtype in ("uint8", "int64") else "float32"
    assert stored == {"image": image, "series": "float32", "spectrum": "float32", "vector": "float32"}
