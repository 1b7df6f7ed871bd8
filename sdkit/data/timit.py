"""TIMIT (LDC93S1) as pieces of 20 spectrum frames, for the paper's speaker verification (appendix B.1).

Training speakers are those of TRAIN, test speakers the 24 of the core test set, validation speakers the others of TEST.
The two sentences that all speakers read, SA1 and SA2, are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sdkit.data.audio import Recording, describe, factors, write
from sdkit.data.said import NOTHING, Said
from sdkit.data.subjects import folders
from sdkit.runtime.errors import DataError, FileFormatError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter

CORE = {
    "DR1": ("MDAB0", "MWBT0", "FELC0"),
    "DR2": ("MTAS1", "MWEW0", "FPAS0"),
    "DR3": ("MJMP0", "MLNT0", "FPKT0"),
    "DR4": ("MLLL0", "MTLS0", "FJLM0"),
    "DR5": ("MBPM0", "MKLT0", "FNLP0"),
    "DR6": ("MCMJ0", "MJDH0", "FMGD0"),
    "DR7": ("MGRT0", "MNJM0", "FDHC0"),
    "DR8": ("MJLN0", "MPAM0", "FMLD0"),
}
"""Core test speakers by dialect region, from the corpus's own documentation."""
FACTORS = ("speaker", "recording", "dialect", "sex")
LAYOUT = "TRAIN and TEST, in them DR1 to DR8, in them a folder a speaker with its .WAV files"
SHARED = ("SA1", "SA2")
SEXES = {"F": "female", "M": "male"}
SPEAKER = re.compile(r"[FM][A-Z]{3}\d")
DEPTH = 3
"""Number of folder levels that are searched for TRAIN and TEST."""
WHOLE = 630
"""Number of speakers of the corpus."""


def make(
    source: str | Path,
    path: str | Path,
    *,
    scale: str = "magnitude",
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Cut TIMIT's recordings into pieces of 200 ms and write their spectra as a sequence file, (N, 20, 201).

    Names may be in capitals or not, files SPHERE or RIFF. The factors are `speaker`, `recording` (SPEAKER/SENTENCE),
    `dialect` (DR1 to DR8) and `sex`, all static.

    Args:
        source: the folder that holds TRAIN and TEST, or one around it.
        path: the file to write.
        scale: `magnitude`, as in the paper's protocol, or `decibel`, a logarithmic scale.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes.

    Raises:
        ConfigError: an unknown scale.
        MissingFileError: no TRAIN or TEST, a missing core test speaker, or a speaker without a recording.
        FileFormatError: a folder that is not named like a speaker, or a recording that cannot be read to its end.
        DataError: a speaker twice, or nothing but silence.
        OutputExistsError: `path` exists and `force` is off.
        MissingExtraError: the extra `audio` is not installed.
    """
    found = _recordings(Path(source))
    columns = factors(found, dict.fromkeys(FACTORS, "static"))
    meta = said.of(describe("timit", columns, scale=scale, source="TIMIT, LDC93S1", licence="LDC user agreement"))
    reporter = reporter or Quiet()
    write(path, found, meta, compression=compression, force=force, reporter=reporter)
    count = len(columns[0].values)
    if count != WHOLE:
        reporter.note(f"this copy has {count} speakers, the whole corpus {WHOLE}")
    return Path(path)


def _recordings(source: Path) -> list[Recording]:
    root = _root(source)
    seen: dict[str, Path] = {}
    found = []
    for part in ("TRAIN", "TEST"):
        for dialect, folder in _speakers(_child(root, part)):
            speaker = folder.name.upper()
            if speaker in seen:
                raise DataError(f"speaker {speaker} is in {seen[speaker]} and in {folder}; remove one of them")
            seen[speaker] = folder
            side = "train" if part == "TRAIN" else "test" if speaker in CORE[dialect] else "val"
            values = (dialect, SEXES[speaker[0]])
            found += [
                Recording(file, side, (speaker, f"{speaker}/{name}", *values)) for name, file in _files(folder).items()
            ]
    tested = {recording.speaker for recording in found if recording.split == "test"}
    for dialect, speakers in CORE.items():
        for speaker in speakers:
            if speaker not in tested:
                raise MissingFileError(f"{root} lacks the core test speaker TEST/{dialect}/{speaker}; copy it again")
    return found


def _root(source: Path) -> Path:
    """Return the folder with TRAIN and TEST: `source` or the first inside it."""
    level = [source]
    folders(source, LAYOUT)
    for _ in range(DEPTH):
        for folder in level:
            if {"TRAIN", "TEST"} <= {child.name.upper() for child in folder.iterdir()}:
                return folder
        level = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
    raise MissingFileError(f"{source} holds no folder with TRAIN and TEST; expected {LAYOUT}")


def _child(folder: Path, name: str) -> Path:
    return next(child for child in folder.iterdir() if child.name.upper() == name)


def _speakers(part: Path) -> Iterator[tuple[str, Path]]:
    regions = [region for region in folders(part, LAYOUT) if region.name.upper() in CORE]
    if not regions:
        raise MissingFileError(f"{part} holds none of the dialect regions DR1 to DR8")
    for region in sorted(regions, key=lambda folder: folder.name.upper()):
        for speaker in folders(region, "a folder a speaker"):
            if not SPEAKER.fullmatch(speaker.name.upper()):
                raise FileFormatError(f"{speaker} is not named as a speaker of TIMIT is, such as FELC0 or MDAB0")
            yield region.name.upper(), speaker


def _files(speaker: Path) -> dict[str, Path]:
    """Return recordings by sentence; some copies hold one twice, as SX37.WAV and, converted, SX37.WAV.wav."""
    found: dict[str, Path] = {}
    for file in sorted(speaker.iterdir()):
        sentence = file.name.split(".")[0].upper()
        if file.suffix.lower() == ".wav" and sentence and sentence not in SHARED:
            found.setdefault(sentence, file)
    if not found:
        raise MissingFileError(f"the folder {speaker} holds no recording (.WAV) besides SA1 and SA2; copy it again")
    return found
