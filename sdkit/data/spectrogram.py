"""Magnitude spectrograms of speech as in the paper's audio experiment (appendix A.1): 10 ms a frame, 201 bins.

Frame t stands for the samples 160 t to 160 t + 159 of the recording. It is the spectrum of the 320 samples 160 t - 80
to 160 t + 239, with these in their middle, under a periodic Hann window; samples before the first and after the
last count as zero. The windows of neighbouring frames add up to one at every sample. The spectrum is that of a discrete
Fourier transform of 400 points: bin k is at 40 k Hz, from 0 to 8 kHz. Its magnitude is used directly: neither
squared, nor logarithmic, nor normalised; `decibels` gives a logarithmic scale, as in hearing.

A piece is 20 frames, which represent 3,200 samples (200 ms). Pieces follow one another without a gap; the last is
padded with zeros, so that every sample of the recording is in one.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

RATE = 16_000
"""Sampling rate in samples a second."""
HOP, WINDOW, POINTS = 160, 320, 400
"""Number of samples from frame to frame, of samples in a frame, and of points of the transform."""
BINS = POINTS // 2 + 1
STEPS = 20
"""Number T of frames in a piece."""
PIECE = HOP * STEPS
"""Number of samples in a piece."""
FRAME_RATE = RATE / HOP
"""Number of frames a second."""
UNITS: dict[str, str] = {"magnitude": "magnitude", "decibel": "dB"}
"""Unit of a bin, by scale: a full-scale sine has the magnitude 80, or 38 dB."""
FLOOR = 1e-3
"""Smallest magnitude of a level, -60 dB: quieter bins are rounding noise of 16 bit recordings."""
FRAMING = {"bin_spacing": f"{RATE // POINTS} Hz", "sample_rate": f"{RATE} Hz", "window": f"Hann, {WINDOW} samples"}
"""Attributes of a file of spectra besides their unit and rate."""
BLOCK = 2_000
"""Number of frames transformed at a time, so that a long recording needs little more memory than its spectrogram."""


def element(scale: str) -> Element:
    """Return the element of spectra in a scale.

    Raises:
        ConfigError: no such scale.
    """
    if scale not in UNITS:
        raise ConfigError(f"unknown scale '{scale}'; choose one of {', '.join(UNITS)}")
    return Element("spectrum", (BINS,), "float32", (UNITS[scale],))


def decibels(magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return levels in dB, 20 log10 of the magnitudes, no less than that of `FLOOR`."""
    return np.asarray(20 * np.log10(np.maximum(magnitudes, FLOOR)), np.float32)


def pieces(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the pieces of a recording, magnitudes (P, 20, 201), with P = n / 3,200 rounded up.

    Args:
        samples: (n,) with n >= 1, at 16 kHz, full scale 1.
    """
    count = -(-len(samples) // PIECE)
    before = (WINDOW - HOP) // 2
    padded = np.zeros(count * PIECE + WINDOW - HOP)
    padded[before : before + len(samples)] = samples
    frames = sliding_window_view(padded, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    out = np.empty((count * STEPS, BINS), np.float32)
    for start in range(0, len(out), BLOCK):
        part = frames[start : start + BLOCK]
        out[start : start + BLOCK] = np.abs(np.fft.rfft(part * hann, POINTS))
    return out.reshape(count, STEPS, BINS)
