"""Noise that any host can reproduce: Philox 4x64-10 counters and the Box-Muller transform.

Every sequence has a stream of its own, so noise depends neither on batch size nor on where a run was resumed. For
sequence number i and purpose p, take the 64-bit outputs r_0, r_1, ... of Philox 4x64-10 with key (seed, p), one block
of four outputs for each counter (j, i, 0, 0), j = 1, 2, 3, ... Each pair gives two standard normal values:

    u = ((r_2k >> 11) + 1) / 2^53        v = (r_2k+1 >> 11) / 2^53
    z_2k = sqrt(-2 ln u) cos(2 pi v)     z_2k+1 = sqrt(-2 ln u) sin(2 pi v)

computed in double precision and rounded to float32. Values fill an array in row-major order, so the noise of T steps
begins with the noise of fewer.
"""

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.errors import ConfigError

MOST_VALUES = 2**28
"""Number of values that are drawn at a time, at most: 1 GiB of them."""
BLOCK = 2**18
"""Number of values that are computed at a time; even, as values come in pairs."""


class Purpose(IntEnum):
    """Purpose of noise: the second half of the Philox key."""

    STATIC_PRIOR = 0
    DYNAMIC_PRIOR = 1
    STATIC_POSTERIOR = 2
    DYNAMIC_POSTERIOR = 3


class Draw(IntEnum):
    """Purpose of a random choice: the second half of a NumPy generator's seed (`generator`).

    The order of training epoch e comes from the pair (seed, e), which may coincide with a pair of these numbers.
    """

    HOLD_OUT = 1
    """Validation sequences held out of a training split."""
    PAIRS = 2
    """Partners in the swaps that a judge sees."""
    PARTNERS = 3
    """Partners whose codes are compared."""
    SEQUENCES = 4
    """Sequences of a split too large to look at whole."""
    POINTS = 6
    """Sequences on a map."""


def generator(seed: int, draw: Draw) -> np.random.Generator:
    """Return the generator of a random choice."""
    return np.random.default_rng([seed, draw])


def standard_normal(seed: int, purpose: Purpose, first: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return noise of `shape` (B, ...) for the sequences first, first + 1, ...

    Raises:
        ConfigError: a seed outside 0..2^64 - 1, or more than `MOST_VALUES` values.
    """
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed = {seed}; it must lie in 0..2^64 - 1")
    count, size = shape[0], math.prod(shape[1:])
    if count * size > MOST_VALUES:
        raise ConfigError(
            f"noise of shape {shape} has {count * size:,} values, and {MOST_VALUES:,} at most are drawn at a time; ask "
            "for fewer steps, or fewer sequences at a time"
        )
    even = size + size % 2
    result = np.empty((count, size), np.float32)
    together = max(1, BLOCK // max(even, 1))
    for begin in range(0, count, together):
        rows = range(begin, min(begin + together, count))
        streams = [_stream(seed, purpose, first + row) for row in rows]
        for start in range(0, even, BLOCK):
            raw = np.empty((len(streams), min(BLOCK, even - start)), np.uint64)
            for row, stream in enumerate(streams):
                raw[row] = stream.random_raw(raw.shape[1])
            result[rows.start : rows.stop, start : start + BLOCK] = _normal(raw)[:, : size - start]
    return result.reshape(shape)


def _stream(seed: int, purpose: Purpose, number: int) -> np.random.Philox:
    """Return the counters of a sequence."""
    return np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=np.array([0, number, 0, 0], np.uint64))


def _normal(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return standard normal values from an even number of random ones in each row."""
    uniform = (raw >> np.uint64(11)).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((uniform[:, 0::2] + 1.0) / 2.0**53))
    angle = 2.0 * np.pi * uniform[:, 1::2] / 2.0**53
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(raw.shape)
