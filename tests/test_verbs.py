"""One test body over the three ways of running a model: PyTorch, TorchScript and ONNX."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import CapabilityError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.run import Run
from tests.tiny import sequences

BACKENDS = ("torch", "torchscript", "onnx")
VARIANTS = ("paper", "release")


def assert_close(found: Array, expected: Array) -> None:
    """Compare grey levels, 0 to 255."""
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-4)


@pytest.fixture(params=[(v, b) for v in VARIANTS for b in BACKENDS], ids="-".join)
def subject(
    request: pytest.FixtureRequest, trained: Callable[[str], Run], exported: Callable[[str], Bundle]
) -> tuple[str, Verbs]:
    """Return a variant and its verbs on one backend."""
    variant, backend = cast(tuple[str, str], request.param)
    if backend == "torch":
        return variant, verbs(trained(variant).load_model())
    return variant, Runtime.open(exported(variant).path, device="cpu", backend=backend)  # type: ignore[arg-type]


def test_shapes(subject: tuple[str, Verbs]) -> None:
    _, v = subject
    x = sequences(3, 5, v.element)
    codes = v.encode(x)
    assert codes.static.shape == (3, v.widths.static_size)
    assert codes.dynamic.shape == (3, 5, v.widths.dynamic_size)
    assert v.decode(codes).shape == x.shape
    assert v.decode(codes).dtype == np.float32
    assert v.generate(4, 6).shape == (4, 6, *v.element.shape)


def test_self_swap_is_reconstruction(subject: tuple[str, Verbs]) -> None:
    _, v = subject
    x = sequences(2, 4, v.element)
    for swapped in v.swap(x, x):
        assert_close(swapped, v.reconstruct(x))


def test_swapping_codes_twice_returns(subject: tuple[str, Verbs]) -> None:
    _, v = subject
    a, b = v.encode(sequences(2, 4, v.element, 1)), v.encode(sequences(2, 4, v.element, 2))
    once = Codes(a.static, b.dynamic), Codes(b.static, a.dynamic)
    twice = Codes(once[0].static, once[1].dynamic), Codes(once[1].static, once[0].dynamic)
    assert_close(v.decode(twice[0]), v.decode(a))
    assert_close(v.decode(twice[1]), v.decode(b))


def test_dynamic_code_at_the_anchor(subject: tuple[str, Verbs]) -> None:
    variant, v = subject
    at_anchor = v.encode(sequences(2, 4, v.element)).dynamic[:, 0]
    assert (at_anchor == 0).all() == (variant == "paper")


def test_static_code_depends_on_the_anchor_alone(subject: tuple[str, Verbs]) -> None:
    _, v = subject
    x = sequences(2, 5, v.element)
    other = x.copy()
    other[:, 1:] = sequences(2, 4, v.element, 9)
    np.testing.assert_allclose(v.encode(other).static, v.encode(x).static, atol=1e-6)
    other = x.copy()
    other[:, 0] = 255 - other[:, 0]
    assert np.abs(v.encode(other).static - v.encode(x).static).max() > 1e-3


def test_causality(subject: tuple[str, Verbs]) -> None:
    variant, v = subject
    x = sequences(2, 6, v.element)
    other = x.copy()
    other[:, 4] = 255 - other[:, 4]
    before, after = v.encode(x).dynamic, v.encode(other).dynamic
    assert np.abs(after[:, 4] - before[:, 4]).max() > 1e-4
    earlier = np.abs(after[:, :4] - before[:, :4]).max()
    if variant == "paper":
        assert earlier <= 1e-6
    else:
        assert earlier > 1e-6


def test_batches_do_not_matter(subject: tuple[str, Verbs]) -> None:
    _, v = subject
    x = sequences(5, 4, v.element)
    whole, sampled = v.reconstruct(x), v.encode(x, seed=7)
    v.batch_size = 2
    assert_close(v.reconstruct(x), whole)
    np.testing.assert_allclose(v.encode(x, seed=7).dynamic, sampled.dynamic, atol=1e-5)


def test_live_streams(subject: tuple[str, Verbs]) -> None:
    variant, v = subject
    x = sequences(3, 5, v.element)
    if variant == "release":
        with pytest.raises(CapabilityError, match="this model cannot stream: its LSTM is bidirectional"):
            v.stream(3)
        return
    stream = v.stream(3)
    steps = [stream.push(x[:, t]) for t in range(5)]
    codes = v.encode(x)
    np.testing.assert_allclose(steps[0].static, codes.static, atol=1e-5)
    np.testing.assert_allclose(np.stack([step.dynamic for step in steps], 1), codes.dynamic, atol=1e-5)
    assert_close(np.stack([step.x for step in steps], 1), v.reconstruct(x))


def test_seeds(subject: tuple[str, Verbs]) -> None:
    _, v = subject
    np.testing.assert_array_equal(v.generate(3, 4, seed=1), v.generate(3, 4, seed=1))
    assert np.abs(v.generate(3, 4, seed=1) - v.generate(3, 4, seed=2)).max() > 1e-2
    # Noise is numbered by sequence: the third of three is the first of those from number 2 on.
    assert_close(v.generate(1, 4, seed=1, first=2), v.generate(3, 4, seed=1)[2:])


def test_resampling_keeps_the_other_code(subject: tuple[str, Verbs]) -> None:
    _, v = subject
    x = sequences(2, 4, v.element)
    kept = v.encode(x)
    new_static = v.resample_static(x, seed=3)
    new_dynamic = v.resample_dynamic(x, seed=3)
    assert np.abs(new_static - v.decode(kept)).max() > 1e-2
    assert np.abs(new_dynamic - v.decode(kept)).max() > 1e-2
    # What is drawn depends on the seed alone, so it can be drawn again beside the kept code.
    assert_close(new_dynamic, v.decode(Codes(kept.static, v.draw_dynamic(2, 4, 3))))
    assert_close(new_static, v.decode(Codes(v.draw_static(2, 3), kept.dynamic)))
