"""Magnitude spectrograms of speech as in the paper's audio experiment (appendix A.1): 10 ms a frame, 201 bins.

Frame t stands for the samples 160 t to 160 t + 159 of the recording. It is the spectrum of the 320 samples 160 t - 80
to 160 t + 239, with these in their middle, under a periodic Hann window; samples before the first and after the
last count as zero. The windows of neighbouring frames add up to one at every sample. The spectrum is that of a discrete
Fourier transform of 400 points: bin k is at 40 k Hz, from 0 to 8 kHz. Its magnitude is used directly: neither
squared, nor logarithmic, nor normalised; `decibels` gives a logarithmic scale, as in hearing.

A piece is 20 frames, which represent 3,200 samples (200 ms). Pieces follow one another without a gap; the last is
padded with zeros, so that every sample of the recording is in one.

These numbers of samples are of recordings of 16 kHz. At another rate there are as many milliseconds and hertz: frames
of 20 ms, 10 ms apart, and bins of 40 Hz, up to half of that rate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

RATE = 16_000
"""Sampling rate in samples a second."""
HOP, WINDOW, POINTS = 160, 320, 400
"""Number of samples from frame to frame, of samples in a frame, and of points of the transform."""
STEPS = 20
"""Number T of frames in a piece."""
STEP_OF_RATES = 400
"""Rates of which the frames have whole numbers of samples are multiples of this."""
FRAME_RATE = RATE / HOP
"""Number of frames a second."""
UNITS: dict[str, str] = {"magnitude": "magnitude", "decibel": "dB"}
"""Unit of a bin, by scale: a full-scale sine has the magnitude 80, or 38 dB."""
FLOOR = 1e-3
"""Smallest magnitude of a level, -60 dB: quieter bins are rounding noise of 16 bit recordings."""
BLOCK = 2_000
"""Number of frames transformed at a time, so that a long recording needs little more memory than its spectrogram."""


@dataclass(frozen=True)
class Framing:
    """Numbers of samples of the frames at a sampling rate.

    Raises:
        ConfigError: a rate at which they are not whole.
    """

    rate: int = RATE
    """Sampling rate in samples a second."""

    def __post_init__(self) -> None:
        if self.rate % STEP_OF_RATES or not STEP_OF_RATES <= self.rate <= 240 * STEP_OF_RATES:
            raise ConfigError(
                f"rate = {self.rate}; expected a multiple of {STEP_OF_RATES}, such as 8000, 16000 or 44000, up to "
                f"{240 * STEP_OF_RATES}"
            )

    @property
    def hop(self) -> int:
        """Number of samples from frame to frame."""
        return HOP * self.rate // RATE

    @property
    def window(self) -> int:
        """Number of samples in a frame."""
        return WINDOW * self.rate // RATE

    @property
    def points(self) -> int:
        """Number of points of the transform."""
        return POINTS * self.rate // RATE

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.points // 2 + 1

    @property
    def attributes(self) -> dict[str, str]:
        """Attributes of a file of spectra besides their unit and rate."""
        return {
            "bin_spacing": f"{self.rate // self.points} Hz",
            "sample_rate": f"{self.rate} Hz",
            "window": f"Hann, {self.window} samples",
        }


STANDARD = Framing()


def element(scale: str, framing: Framing = STANDARD) -> Element:
    """Return the element of spectra in a scale.

    Raises:
        ConfigError: no such scale.
    """
    if scale not in UNITS:
        raise ConfigError(f"unknown scale '{scale}'; choose one of {', '.join(UNITS)}")
    return Element("spectrum", (framing.bins,), "float32", (UNITS[scale],))


def decibels(magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return levels in dB, 20 log10 of the magnitudes, no less than that of `FLOOR`."""
    return np.asarray(20 * np.log10(np.maximum(magnitudes, FLOOR)), np.float32)


def pieces(samples: NDArray[np.floating], framing: Framing = STANDARD) -> NDArray[np.float32]:
    """Return the pieces of a recording, magnitudes (P, 20, bins), with P = n / 3,200 rounded up at 16 kHz.

    Args:
        samples: (n,) with n >= 1, at the framing's rate, full scale 1.
        framing: numbers of samples of the frames.
    """
    hop, window, piece = framing.hop, framing.window, framing.hop * STEPS
    count = -(-len(samples) // piece)
    before = (window - hop) // 2
    padded = np.zeros(count * piece + window - hop)
    padded[before : before + len(samples)] = samples
    frames = sliding_window_view(padded, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    out = np.empty((count * STEPS, framing.bins), np.float32)
    for start in range(0, len(out), BLOCK):
        part = frames[start : start + BLOCK]
        out[start : start + BLOCK] = np.abs(np.fft.rfft(part * hann, framing.points))
    return out.reshape(count, STEPS, framing.bins)
