import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sdkit.data import audio
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


def stating_frames(path: Path, frames: int) -> None:
    """Let a FLAC state a number of samples: the last 36 of the 64 bits at byte 18."""
    data = bytearray(path.read_bytes())
    word = int.from_bytes(data[18:26], "big")
    data[18:26] = (word >> 36 << 36 | frames).to_bytes(8, "big")
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("frames", "message"),
    [(2**36 - 1, "states more than 67,108,864 samples"), (5000, r"4,000 of 5,000 samples are there|not a recording")],
)
def test_a_length_that_is_stated_is_not_believed(tmp_path: Path, frames: int, message: str) -> None:
    path = written(tmp_path / "flac.flac")
    stating_frames(path, frames)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_recording_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "LONGEST", 3999)
    with pytest.raises(FileFormatError, match="more than 3,999 samples"):
        read(written(tmp_path / "riff.wav"))


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_a_rate_that_no_speech_has(tmp_path: Path, rate: int) -> None:
    path = written(tmp_path / "riff.wav")
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=f"has {rate} samples a second; expected 1000 to 768000"):
        read(path)


def test_channels_are_averaged_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "READ", 300)
    stereo = np.stack([WAVEFORM, WAVEFORM / 2], 1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000, subtype="DOUBLE")
    samples, sound = read(tmp_path / "a.wav")
    assert (sound.rate, sound.channels) == (8000, 2)
    np.testing.assert_array_equal(samples, stereo.mean(axis=1))
