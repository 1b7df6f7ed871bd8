"""Noise is what its documentation says, number by number, so that another host can draw it again."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sdkit.runtime.errors import ConfigError
from sdkit.runtime.noise import Purpose, standard_normal

MASK = 2**64 - 1
GOLDEN_STATIC = [0.15853384, 2.9828794, -1.92569196, -0.82492554, -0.20250328]
"""Seed 0, static prior, sequence 0. If these change, no host draws the same noise any more."""
GOLDEN_DYNAMIC = [
    [[1.1239067, 0.9445614, 1.4688905], [-0.73836476, 1.4581112, -0.43152785]],
    [[1.4386355, -0.25903273, -1.034897], [-0.92306477, -0.20819794, -0.9528001]],
]
"""Seed 7, dynamic prior, sequences 3 and 4."""


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return a block of Philox 4x64-10 (Salmon et al. 2011), in plain integers."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & MASK, (p0 >> 64) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def normals(seed: int, purpose: int, number: int) -> Iterator[float]:
    """Yield a sequence's noise by the words of the module's documentation."""
    j = 0
    while True:
        j += 1
        r = philox((seed, purpose), (j, number, 0, 0))
        for a, b in ((r[0], r[1]), (r[2], r[3])):
            u, v = ((a >> 11) + 1) / 2**53, (b >> 11) / 2**53
            radius = math.sqrt(-2 * math.log(u))
            yield radius * math.cos(2 * math.pi * v)
            yield radius * math.sin(2 * math.pi * v)


def test_philox_of_this_test_gives_the_published_vectors() -> None:
    """Known answers of Random123, Philox 4x64-10: all zeros and all ones."""
    assert philox((0, 0), (0, 0, 0, 0)) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )
    assert philox((MASK, MASK), (MASK, MASK, MASK, MASK)) == (
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    )


@pytest.mark.parametrize("seed", [0, 1, 20, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 7), (1, 1), (4, 2, 2, 3)])
def test_an_independent_generator_gives_the_same_numbers(seed: int, purpose: Purpose, shape: tuple[int, ...]) -> None:
    noise = standard_normal(seed, purpose, 9, shape).reshape(shape[0], -1)
    for row, number in zip(noise, range(9, 9 + shape[0]), strict=True):
        own = normals(seed, int(purpose), number)
        expected = np.array([next(own) for _ in row], np.float32)
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-7)


def test_golden_values() -> None:
    noise = standard_normal(0, Purpose.STATIC_PRIOR, 0, (1, 5))
    np.testing.assert_allclose(noise[0], GOLDEN_STATIC, rtol=1e-6)
    noise = standard_normal(7, Purpose.DYNAMIC_PRIOR, 3, (2, 2, 3))
    np.testing.assert_allclose(noise, GOLDEN_DYNAMIC, rtol=1e-6)


def test_type_and_shape() -> None:
    noise = standard_normal(0, Purpose.DYNAMIC_POSTERIOR, 0, (3, 4, 5))
    assert noise.dtype == np.float32
    assert noise.shape == (3, 4, 5)
    assert standard_normal(0, Purpose.STATIC_PRIOR, 0, (0, 5)).shape == (0, 5)


@pytest.mark.parametrize("cuts", [[1, 1, 1, 1, 1, 1, 1], [3, 4], [6, 1]])
def test_batches_do_not_matter(cuts: list[int]) -> None:
    whole = standard_normal(3, Purpose.DYNAMIC_PRIOR, 10, (7, 4, 3))
    starts = [10 + sum(cuts[:i]) for i in range(len(cuts))]
    parts = [standard_normal(3, Purpose.DYNAMIC_PRIOR, s, (n, 4, 3)) for s, n in zip(starts, cuts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
@pytest.mark.parametrize("width", [1, 3, 4])
def test_noise_of_more_steps_begins_with_that_of_fewer(steps: int, width: int) -> None:
    long = standard_normal(3, Purpose.DYNAMIC_PRIOR, 0, (2, 9, width))
    np.testing.assert_array_equal(standard_normal(3, Purpose.DYNAMIC_PRIOR, 0, (2, steps, width)), long[:, :steps])


def test_seeds_purposes_and_numbers_have_streams_of_their_own() -> None:
    streams = [
        standard_normal(seed, purpose, number, (1, 64)).ravel()
        for seed in (0, 1)
        for purpose in Purpose
        for number in (0, 1)
    ]
    correlation = np.asarray(np.corrcoef(np.stack(streams)))
    assert np.abs(correlation[~np.eye(len(streams), dtype=bool)]).max() < 0.6
    assert len({stream.tobytes() for stream in streams}) == len(streams)


def test_moments() -> None:
    z = standard_normal(1, Purpose.STATIC_PRIOR, 0, (400, 500)).astype(np.float64)
    moments = np.array([z.mean(), (z**2).mean(), (z**3).mean(), (z**4).mean()])
    assert (np.abs(moments - [0, 1, 0, 3]) < 5 * np.sqrt(np.array([1, 2, 15, 96]) / z.size)).all()
    assert abs((z[:, 0::2] * z[:, 1::2]).mean()) < 5 / np.sqrt(z.size / 2)
    assert (np.abs(z) < 1).mean() == pytest.approx(0.6827, abs=0.005)


@pytest.mark.parametrize(("word", "value"), [(0, 8.571674), (MASK, 0.0)])
def test_the_rarest_words_give_finite_numbers(monkeypatch: pytest.MonkeyPatch, word: int, value: float) -> None:
    """u is never 0, so the largest value is sqrt(2 * 53 ln 2); where u is 1 the value is 0."""

    class Constant:
        def __init__(self, **_: object) -> None:
            pass

        def random_raw(self, size: int) -> NDArray[np.uint64]:
            return np.full(size, word, np.uint64)

    monkeypatch.setattr(np.random, "Philox", Constant)
    noise = standard_normal(0, Purpose.STATIC_PRIOR, 0, (2, 4))
    np.testing.assert_allclose(noise[:, 0::2], value, rtol=1e-6)
    np.testing.assert_allclose(noise[:, 1::2], 0.0, atol=1e-6)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_have_64_bits(seed: int) -> None:
    with pytest.raises(ConfigError, match=rf"seed = {seed}; it must lie in 0\.\.2\^64 - 1"):
        standard_normal(seed, Purpose.STATIC_PRIOR, 0, (1, 2))


@pytest.mark.parametrize("shape", [(1, 2**28 + 1), (2**20, 2**20, 4), (1, 2**40, 2**40)])
def test_noise_that_no_memory_holds_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="ask for fewer steps, or fewer sequences at a time"):
        standard_normal(0, Purpose.DYNAMIC_PRIOR, 0, shape)


@pytest.mark.parametrize("block", [2, 6, 8, 1000])
def test_noise_does_not_depend_on_how_much_is_computed_at_a_time(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = ((5, 3, 3), (1, 7), (4, 8), (3, 0), (0, 4))
    whole = [standard_normal(3, Purpose.DYNAMIC_PRIOR, 11, shape) for shape in shapes]
    monkeypatch.setattr("sdkit.runtime.noise.BLOCK", block)
    for shape, expected in zip(shapes, whole, strict=True):
        np.testing.assert_array_equal(standard_normal(3, Purpose.DYNAMIC_PRIOR, 11, shape), expected)
