"""Recordings of speech: read, converted to 16 kHz and one channel, and written as pieces of spectrum frames."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdkit.data.reading import library
from sdkit.data.spectrogram import FRAME_RATE, STANDARD, UNITS, Framing, decibels, element, pieces
from sdkit.runtime.errors import DataError, FileFormatError
from sdkit.runtime.extras import need
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SPLITS, Factor, SequenceMeta, SequenceWriter

Kind = Literal["static", "dynamic"]
Waveform = NDArray[np.float64]
Batch = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Pieces (B, 20, 201) and their labels (B, L)."""
BATCH = 256
"""Least number of pieces written at a time."""

RATES = (1_000, 768_000)
"""Least and greatest number of samples a second of a recording."""
LONGEST = 1 << 26
"""Most samples of a recording, at its own rate and at 16 kHz: 70 minutes of the latter, half a gigabyte."""
HEAD = 1024
"""Number of bytes at the start of a file that hold its header."""
READ = 1 << 20
"""Number of samples, of all channels, that are read at a time."""
UNKNOWN_FRAMES = (1 << 63) - 1
"""Number of samples that libsndfile states where a header has none."""
UNKNOWN_LENGTH = 0x7FFF0000
"""Length in a RIFF header from which on it means nothing: programs that write into a pipe put such a number there."""


@dataclass(frozen=True)
class Sound:
    """Format of the samples of a recording."""

    rate: int
    """Number of samples a second."""
    channels: int


@dataclass(frozen=True)
class Recording:
    """A file and its factor values."""

    path: Path
    split: str
    values: tuple[str, ...]
    """Values of the factors, one each."""
    data: Callable[[], bytes] | None = None
    """Function that returns the bytes where `path` is in an archive."""

    @property
    def speaker(self) -> str:
        """Speaker: the value of the first factor."""
        return self.values[0]


def factors(recordings: Sequence[Recording], kinds: Mapping[str, Kind]) -> tuple[Factor, ...]:
    """Return factors of these names and kinds; their values are those of the recordings, sorted."""
    columns = zip(*(recording.values for recording in recordings), strict=True)
    return tuple(
        Factor(name, kind, tuple(sorted(set(column))))
        for (name, kind), column in zip(kinds.items(), columns, strict=True)
    )


def write(
    path: str | Path,
    recordings: Sequence[Recording],
    meta: SequenceMeta,
    *,
    framing: Framing = STANDARD,
    compression: str,
    force: bool,
    reporter: Reporter,
) -> None:
    """Write a sequence file of the recordings' pieces, each (20, 201) in the units of `meta`, in the order given.

    A piece of digital silence carries no information and is left out.

    Args:
        path: the file to write.
        recordings: recordings to read, one at a time.
        meta: description of the file, from `describe`.
        framing: frames into which recordings are cut, at the rate to which they are converted.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes on what was kept, dropped or converted.

    Raises:
        MissingExtraError: the extra `audio` is not installed, or `train` where a recording must be resampled.
        FileFormatError: a recording that cannot be read to its end.
        DataError: all pieces are silence.
        OutputExistsError: `path` exists and `force` is off.
    """
    need("audio", "soundfile", what="reading recordings")
    tally = _Tally(framing)
    with SequenceWriter(path, meta, compression=compression, force=force) as writer:
        reporter.start("cutting recordings", len(recordings))
        for x, labels in _batches(_cut(recordings, meta, tally, reporter)):
            writer.write(x, labels=labels)
        reporter.finish()
        if writer.count == 0:
            raise DataError(f"all {len(recordings)} recordings are digital silence, such as {recordings[0].path}")
        writer.splits({split: index for split, index in tally.parts.items() if index})
    tally.tell(recordings, reporter)


def describe(
    name: str, factors: tuple[Factor, ...], *, scale: str, source: str, licence: str, framing: Framing = STANDARD
) -> SequenceMeta:
    """Return the description of a file of spectrum pieces.

    Raises:
        ConfigError: no such scale.
    """
    found, extra = element(scale, framing), framing.attributes
    return SequenceMeta(found, name, factors, rate=FRAME_RATE, source=source, licence=licence, extra=extra)


def read(path: Path, data: Callable[[], bytes] | None = None) -> tuple[Waveform, Sound]:
    """Return the samples of a recording, (n,) with full scale 1 and averaged over its channels, and what they are.

    Args:
        path: the file, or its name in messages.
        data: function that returns its bytes, where it is in an archive.

    Raises:
        FileFormatError: not audio, truncated, too long, without a sample, of a rate that no speech has, or with samples
            that are not finite.
    """
    packed = None if data is None else data()
    if packed is None:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    else:
        head = packed[:HEAD]
    length, promised = path.stat().st_size if packed is None else len(packed), _promised_length(head)
    samples, sound = _samples(path, packed)
    if length < promised:
        raise FileFormatError(f"{path} is broken off: it has {length} of {promised} bytes; copy it again")
    if len(samples) == 0:
        raise FileFormatError(f"{path} holds no samples")
    if not np.isfinite(samples).all():
        raise FileFormatError(f"{path} holds samples that are NaN or infinite")
    return samples, sound


def _samples(path: Path, data: bytes | None) -> tuple[Waveform, Sound]:
    """Return the samples of a recording, read a block at a time, so that memory grows with what is really there."""
    import soundfile

    expected = "a recording that can be read"
    with library(str(path), expected):
        stream = soundfile.SoundFile(path if data is None else BytesIO(data))
    with stream:
        sound, stated = Sound(int(stream.samplerate), int(stream.channels)), int(stream.frames)
        if not RATES[0] <= sound.rate <= RATES[1]:
            raise FileFormatError(f"{path} has {sound.rate} samples a second; expected {RATES[0]} to {RATES[1]}")
        most = min(LONGEST, LONGEST * sound.rate // STANDARD.rate)
        parts, count = [np.empty(0)], 0
        while stated <= most or stated == UNKNOWN_FRAMES:
            with library(str(path), expected):
                part = stream.read(max(1, READ // sound.channels), dtype="float64", always_2d=True)
            count += len(part)
            if len(part) == 0 or count > most:
                break
            parts.append(part.mean(axis=1))
    if max(count, 0 if stated == UNKNOWN_FRAMES else stated) > most:
        raise FileFormatError(f"{path} states more than {most:,} samples, an hour of speech; cut it into parts")
    if count < stated != UNKNOWN_FRAMES:
        raise FileFormatError(f"{path} is not {expected}: {count:,} of {stated:,} samples are there; copy it again")
    return np.concatenate(parts), sound


@dataclass
class _Tally:
    """Counts of what became of the recordings."""

    framing: Framing
    kept: int = 0
    silent: int = 0
    parts: dict[str, list[int]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    converted: Counter[str] = field(default_factory=Counter)
    rates: set[int] = field(default_factory=set)
    """Rates of the recordings."""

    def tell(self, recordings: Sequence[Recording], reporter: Reporter) -> None:
        """Report the counts in a few lines."""
        sides = ", ".join(
            f"{split} {len(index)} of {len({r.speaker for r in recordings if r.split == split})} speakers"
            for split, index in self.parts.items()
        )
        reporter.note(f"kept {self.kept} pieces of 200 ms from {len(recordings)} recordings: {sides}")
        if self.silent:
            reporter.note(f"dropped {self.silent} pieces of digital silence")
        for how, count in sorted(self.converted.items()):
            reporter.note(f"{how}: {count} recordings")
        if (highest := max(self.rates)) < self.framing.rate:
            reporter.note(
                f"no recording has more than {highest} samples a second: bins above {highest // 2} Hz are empty; "
                "a lower rate leaves them out"
            )


def _cut(recordings: Sequence[Recording], meta: SequenceMeta, tally: _Tally, reporter: Reporter) -> Iterator[Batch]:
    """Yield the pieces of each recording that are not silent, and their labels."""
    codes = [{value: code for code, value in enumerate(factor.values)} for factor in meta.factors]
    in_decibels = meta.element.units == (UNITS["decibel"],)
    for recording in recordings:
        x = pieces(_convert(recording, tally), tally.framing)
        x, total = x[x.any(axis=(1, 2))], len(x)
        labels = np.array([code[value] for code, value in zip(codes, recording.values, strict=True)], np.int64)
        tally.silent += total - len(x)
        tally.parts[recording.split].extend(range(tally.kept, tally.kept + len(x)))
        tally.kept += len(x)
        reporter.advance()
        yield decibels(x) if in_decibels else x, np.tile(labels, (len(x), 1))


def _batches(parts: Iterable[Batch]) -> Iterator[Batch]:
    """Join parts, since writing a few pieces at a time would compress every chunk of the file many times."""
    waiting: list[Batch] = []
    for part in parts:
        waiting.append(part)
        if sum(len(x) for x, _ in waiting) >= BATCH:
            yield _join(waiting)
            waiting = []
    if any(len(x) for x, _ in waiting):
        yield _join(waiting)


def _join(parts: Sequence[Batch]) -> Batch:
    return np.concatenate([x for x, _ in parts]), np.concatenate([labels for _, labels in parts])


def _convert(recording: Recording, tally: _Tally) -> Waveform:
    mono, sound = read(recording.path, recording.data)
    given, wanted = sound.rate, tally.framing.rate
    tally.rates.add(given)
    if sound.channels > 1:
        tally.converted[f"averaged over {sound.channels} channels"] += 1
    if given == wanted:
        return mono
    need("train", "scipy", what=f"resampling {recording.path} from {given} Hz to {wanted} Hz")
    from scipy.signal import resample_poly

    tally.converted[f"resampled from {given} Hz to {wanted} Hz"] += 1
    common = math.gcd(given, wanted)
    return np.asarray(resample_poly(mono, wanted // common, given // common), np.float64)


def _promised_length(head: bytes) -> int:
    """Return the number of bytes that a file's own header states, or 0; libsndfile reads a truncated one silently."""
    if head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        return 0 if size >= UNKNOWN_LENGTH else size + 8
    if head.startswith(b"NIST_1A"):
        found = dict(re.findall(rb"^(\w+) -i (\d+)", head, re.MULTILINE))
        names = (b"sample_count", b"channel_count", b"sample_n_bytes")
        # Of more digits than a size has, a number is damage, which libsndfile tells.
        size = math.prod(int(found.get(name, b"0")[:12]) for name in names)
        begin = re.match(rb"NIST_1A\s+(\d{1,12})\s", head)
        return size + int(begin[1]) if size and begin else 0
    return 0
