from pathlib import Path

import numpy as np
import pytest

from sdkit.data.audio import read
from sdkit.runtime.errors import FileFormatError

soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")
WAVEFORM = np.random.default_rng(0).uniform(-0.5, 0.5, 4000)
FORMATS = {
    "riff.wav": ("WAV", "PCM_16", b"RIFF"),
    "float.wav": ("WAV", "FLOAT", b"RIFF"),
    "sphere.wav": ("NIST", "PCM_16", b"NIST_1A\n   1024\n"),
    "flac.flac": ("FLAC", "PCM_16", b"fLaC"),
}


def written(path: Path) -> Path:
    """Write 4,000 samples in the format that the name says."""
    kind, subtype, start = FORMATS[path.name]
    soundfile.write(path, WAVEFORM, 16_000, format=kind, subtype=subtype)
    assert path.read_bytes().startswith(start)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_is_read(tmp_path: Path, name: str) -> None:
    samples, sound = read(written(tmp_path / name))
    assert (sound.rate, sound.channels) == (16_000, 1)
    np.testing.assert_allclose(samples, WAVEFORM, atol=2**-15)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_a_recording_that_is_broken_off(tmp_path: Path, name: str, share: float) -> None:
    path = written(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FileFormatError, match=rf"{name} is (broken off: it has|not a recording)") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"no sound at all", b"", b"RIFF", b"NIST_1A\n"], ids=["text", "empty", "riff", "nist"]
)
def test_a_file_that_is_no_recording(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"a\.wav is not a recording that can be read: [A-Z]"):
        read(path)


def test_a_recording_written_into_a_pipe_does_not_know_its_length(tmp_path: Path) -> None:
    path = written(tmp_path / "riff.wav")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read(path)[0].shape == (4000,)


def test_samples_that_mean_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(FileFormatError, match=r"a\.wav holds samples that are NaN or infinite"):
        read(path)
    soundfile.write(path, np.zeros(0), 16_000)
    with pytest.raises(FileFormatError, match=r"a\.wav holds no samples"):
        read(path)
