"""Any collection of speech, one folder a speaker, as pieces of 20 spectrum frames: TIMIT's protocol on free data."""

import re
from pathlib import Path

from sdkit.data.audio import Kind, Recording, describe, factors, write
from sdkit.data.reading import read_file
from sdkit.data.said import NOTHING, UNKNOWN, Said
from sdkit.data.subjects import deal, folders
from sdkit.runtime.errors import ConfigError, DataError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter

SUFFIXES = (".flac", ".wav")
EXPECTED = f"speaker folders with {' and '.join(SUFFIXES)} recordings"
LICENCE = 1 << 20
"""Most bytes of a text of a licence."""


def make(
    source: str | Path,
    path: str | Path,
    *,
    content: str | None = None,
    scale: str = "magnitude",
    seed: int = 0,
    test_fraction: float = 0.3,
    val_fraction: float = 0.1,
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    r"""Cut all recordings of a folder into pieces of 200 ms and write their spectra as a sequence file, (N, 20, 201).

    Recordings may be at any depth in the folder of their speaker; files beside the speakers are ignored. Rates other
    than 16 kHz are resampled, channels averaged. Factors are `speaker` and `recording` (path without its ending), and
    `content` on request. No speaker is in two splits.

    Args:
        source: the folder of speakers.
        path: the file to write.
        content: regular expression whose one group finds the spoken content in a recording's name, such as `-(\d+)-`.
        seed: seed of the permutation that deals the speakers out.
        test_fraction: share of the speakers in `test`.
        val_fraction: share of the speakers in `val`.
        scale: `magnitude`, as in the paper's protocol, or `decibel`, a logarithmic scale.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes.

    Raises:
        ConfigError: an unknown scale, a `content` of another form, or fractions that leave none to train on.
        MissingFileError: no folder, no speaker in it, or a speaker without a recording.
        FileFormatError: a recording that cannot be read to its end.
        DataError: fewer than three speakers, names that clash or do not have the content, or nothing but silence.
        OutputExistsError: `path` exists and `force` is off.
        MissingExtraError: the extra `audio` is not installed, or `train` where a recording must be resampled.
    """
    source = Path(source)
    found = _recordings(source, None if content is None else _pattern(content), seed, test_fraction, val_fraction)
    kinds: dict[str, Kind] = {"speaker": "static", "recording": "static"}
    if content is not None:
        kinds["content"] = "dynamic"
    meta = said.of(
        describe("speech", factors(found, kinds), scale=scale, source=source.resolve().name, licence=_licence(source))
    )
    write(path, found, meta, compression=compression, force=force, reporter=reporter or Quiet())
    return Path(path)


def _recordings(
    source: Path, content: re.Pattern[str] | None, seed: int, test_fraction: float, val_fraction: float
) -> list[Recording]:
    speakers = {folder.name: _files(folder) for folder in folders(source, EXPECTED)}
    try:
        sides = deal(speakers, seed=seed, test_fraction=test_fraction, val_fraction=val_fraction)
    except DataError as error:
        raise DataError(f"{source}: speakers: {error}") from error
    found: dict[str, Recording] = {}
    for speaker, files in speakers.items():
        for file in files:
            name = file.relative_to(source).with_suffix("").as_posix()
            if name in found:
                raise DataError(f"{file} and {found[name].path} have the same name; keep one of the two")
            said = () if content is None else (_content(file, content),)
            found[name] = Recording(file, sides[speaker], (speaker, name, *said))
    return list(found.values())


def _files(speaker: Path) -> list[Path]:
    found = sorted(
        file for file in speaker.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not found:
        raise MissingFileError(f"the folder {speaker} holds no recording ({', '.join(SUFFIXES)}); remove or fill it")
    return found


def _pattern(content: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(content)
    except re.error as error:
        raise ConfigError(f"content = '{content}' is not a regular expression: {error}") from error
    if pattern.groups != 1:
        raise ConfigError(f"content = '{content}' has {pattern.groups} groups; expected one, such as '-(\\d+)-'")
    return pattern


def _content(file: Path, pattern: re.Pattern[str]) -> str:
    match = pattern.search(file.stem)
    if match is None or match[1] is None:
        raise DataError(
            f"{file}: the name has no content '{pattern.pattern}'; rename the file or change the expression"
        )
    return match[1]


def _licence(source: Path) -> str:
    file = source / "LICENSE"
    lines = read_file(file, LICENCE).decode(errors="replace").splitlines() if file.is_file() else []
    return next((line.strip() for line in lines if line.strip()), UNKNOWN)
