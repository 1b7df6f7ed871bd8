import numpy as np
import pytest

from sdkit.data import spectrogram
from sdkit.data.spectrogram import BLOCK, pieces


def tone(hertz: float, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a sine of amplitude 1, (n,)."""
    return np.sin(2 * np.pi * hertz * np.arange(count) / 16_000)


@pytest.mark.parametrize("k", [5, 25, 100, 195])
def test_a_tone_peaks_at_its_bin(k: int) -> None:
    x = pieces(tone(40 * k, 6400))
    assert x.shape == (2, 20, 201)
    assert x.dtype == np.float32
    inner = x.reshape(40, 201)[1:-1]
    assert (inner.argmax(1) == k).all()
    # Half the amplitude times the sum of the window; a power would be 6,400, a logarithm about 4.
    np.testing.assert_allclose(inner[:, k], 80, rtol=1e-3)


@pytest.mark.parametrize("t", [0, 1, 7, 20, 39])
def test_a_frame_is_the_transform_of_its_samples(t: int) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, 5000)
    expected = np.zeros(201, np.complex128)
    for j in range(320):
        n = 160 * t - 80 + j
        if 0 <= n < 5000:
            weight = 0.5 - 0.5 * np.cos(2 * np.pi * j / 320)
            expected += weight * waveform[n] * np.exp(-2j * np.pi * np.arange(201) * j / 400)
    np.testing.assert_allclose(pieces(waveform).reshape(40, 201)[t], np.abs(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3200, 1), (3201, 2), (16_000, 5), (16_001, 6)])
def test_every_sample_is_in_a_piece(count: int, expected: int) -> None:
    waveform = np.zeros(count)
    waveform[-1] = 1.0
    x = pieces(waveform)
    assert len(x) == expected
    # A click has a flat spectrum, as high as the window is there.
    heard = x.reshape(-1, 201).max(1)
    assert heard[(count - 1) // 160] >= 0.5 - 1e-6
    assert (heard > 1e-6).sum() <= 2


@pytest.mark.parametrize("sample", [80, 81, 160, 239, 3199, 3200, 6000])
def test_neighbouring_windows_add_up_to_one(sample: int) -> None:
    waveform = np.zeros(6400)
    waveform[sample] = 1.0
    assert pieces(waveform).max(2).sum() == pytest.approx(1, abs=1e-6)


def test_silence_is_exactly_zero() -> None:
    x = pieces(np.concatenate([tone(440, 3200), np.zeros(6400)]))
    assert x[0].any(axis=1).all()
    assert not x[1, 1:].any()
    assert not x[2].any()


def test_long_recordings_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = np.random.default_rng(1).uniform(-1, 1, 160 * 150)
    whole = pieces(waveform)
    assert len(whole) * 20 < BLOCK
    monkeypatch.setattr(spectrogram, "BLOCK", 7)
    np.testing.assert_array_equal(pieces(waveform), whole)
