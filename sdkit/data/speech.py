"""Any collection of speech, one folder a speaker, as pieces of 20 spectrum frames: TIMIT's protocol on free data."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from sdkit.data.audio import Kind, Recording, describe, factors, write
from sdkit.data.reading import TABLE, Zip, listed, open_zip, read_file, shown
from sdkit.data.said import NOTHING, UNKNOWN, Said
from sdkit.data.spectrogram import RATE, Framing
from sdkit.data.subjects import deal, folders
from sdkit.data.tables import read_table
from sdkit.runtime.errors import ConfigError, DataError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter

SUFFIXES = (".flac", ".wav")
EXPECTED = f"speaker folders with {' and '.join(SUFFIXES)} recordings"
LICENCE = 1 << 20
"""Most bytes of a text of a licence."""
PACKED = 256 << 20
"""Most bytes of a recording in a zip."""


@dataclass(frozen=True)
class Found:
    """A recording that was found in the source."""

    name: str
    """Path in the source, without its ending."""
    place: Path
    """Its file, or the name of one in an archive."""
    data: Callable[[], bytes] | None = None
    """Function that returns the bytes of one in an archive."""


def make(
    source: str | Path,
    path: str | Path,
    *,
    speaker: str | None = None,
    table: str | None = None,
    content: str | None = None,
    rate: int = RATE,
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

    Recordings may be at any depth in the folder of their speaker; files beside the speakers are ignored, unless
    `speaker` or `table` says whose they are. Rates other than `rate` are resampled, channels averaged. Factors are
    `speaker` and `recording` (path without its ending), and `content` on request. No speaker is in two splits.

    Args:
        source: the folder of speakers, or a zip of it.
        path: the file to write.
        speaker: regular expression whose one group finds the speaker in a recording's path, such as `^([^_]+)_`; by
            default the speaker is the first folder of the path.
        table: table of comma-separated cells with the columns `file` (path in the source) and `speaker`, one line for
            each recording, instead.
        content: regular expression whose one group finds the spoken content in a recording's name, such as `-(\d+)-`.
        rate: number of samples a second to which recordings are converted, a multiple of 400. A frame has a bin for
            each 40 Hz up to half of it, so that 8000 suits telephone speech.
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
    source, framing = Path(source), Framing(rate)
    if speaker is not None and table is not None:
        raise ConfigError("speaker and table both say who speaks; give one of them")
    patterns = {"speaker": _pattern("speaker", speaker), "content": _pattern("content", content)}
    with ExitStack() as stack:
        archive = stack.enter_context(open_zip(source)) if source.is_file() else None
        files = _found(source, archive, by_folder=speaker is None and table is None)
        speakers = _speakers(source, files, patterns["speaker"], None if table is None else Path(table))
        sides = _sides(source, speakers, seed=seed, test_fraction=test_fraction, val_fraction=val_fraction)
        recordings = _recordings(files, speakers, sides, patterns["content"])
        kinds: dict[str, Kind] = {"speaker": "static", "recording": "static"}
        if content is not None:
            kinds["content"] = "dynamic"
        origin, licence = source.resolve().name, _licence(source, archive)
        columns = factors(recordings, kinds)
        meta = describe("speech", columns, scale=scale, source=origin, licence=licence, framing=framing)
        how: dict[str, Any] = {"compression": compression, "force": force, "reporter": reporter or Quiet()}
        write(path, recordings, said.of(meta), framing=framing, **how)
    return Path(path)


def _found(source: Path, archive: Zip | None, *, by_folder: bool) -> list[Found]:
    """Return the recordings of the source, those in folders of speakers alone or all."""
    if archive is not None:
        return _zipped(archive, by_folder=by_folder)
    places = [source]
    if by_folder:
        places = folders(source, EXPECTED)
    elif not source.is_dir():
        raise MissingFileError(f"{source} does not exist; expected a folder or a zip of recordings")
    return [
        Found(file.relative_to(source).with_suffix("").as_posix(), file) for place in places for file in _files(place)
    ]


def _zipped(archive: Zip, *, by_folder: bool) -> list[Found]:
    names = sorted(
        name
        for name in archive.names
        if PurePosixPath(name).suffix.lower() in SUFFIXES and not PurePosixPath(name).name.startswith(".")
    )
    tops = {PurePosixPath(name).parts[0] for name in names}
    start = 1 if len(tops) == 1 and all(len(PurePosixPath(name).parts) > 1 for name in names) else 0
    found = []
    for name in names:
        inside = PurePosixPath(*PurePosixPath(name).parts[start:])
        if len(inside.parts) > 1 or not by_folder:
            place = Path(archive.where(name))
            found.append(Found(str(inside.with_suffix("")), place, partial(archive.read, name, PACKED)))
    if not found:
        raise MissingFileError(f"{archive.place} holds no recordings; expected {EXPECTED}")
    return found


def _speakers(source: Path, files: Sequence[Found], pattern: re.Pattern[str] | None, table: Path | None) -> list[str]:
    """Return who speaks in each recording: by folder, by a part of the path, or as a table says."""
    if pattern is not None:
        return [_part(file.place, file.name, "speaker", pattern) for file in files]
    if table is None:
        return [file.name.partition("/")[0] for file in files]
    rows = read_table(read_file(table, TABLE), str(table), ("file", "speaker"))
    named: dict[str, str] = {}
    for line, file, who in zip(rows.lines, rows.cells["file"], rows.cells["speaker"], strict=True):
        name = str(PurePosixPath(file).with_suffix("")) if file.lower().endswith(SUFFIXES) else file
        if not who or named.setdefault(name, who) != who:
            raise DataError(f"{table}: line {line}: '{shown(file)}' has no speaker, or two")
    absent = [file.place for file in files if file.name not in named]
    if absent:
        raise DataError(f"{table} has no line for {len(absent)} of {len(files)} recordings, the first {absent[0]}")
    if strange := sorted(set(named) - {file.name for file in files}):
        raise DataError(f"{table} names {len(strange)} recordings that {source} does not hold: {listed(strange)}")
    return [named[file.name] for file in files]


def _sides(source: Path, speakers: Iterable[str], **how: Any) -> dict[str, str]:
    try:
        return deal(set(speakers), **how)
    except DataError as error:
        raise DataError(f"{source}: speakers: {error}") from error


def _recordings(
    files: Sequence[Found], speakers: Sequence[str], sides: Mapping[str, str], content: re.Pattern[str] | None
) -> list[Recording]:
    found: dict[str, Recording] = {}
    for file, speaker in zip(files, speakers, strict=True):
        if file.name in found:
            raise DataError(f"{file.place} and {found[file.name].path} have the same name; keep one of the two")
        if not file.name.isprintable():
            raise DataError(
                f"{shown(str(file.place), 500)}: the name has letters that cannot be written; rename the file"
            )
        stem = file.name.rpartition("/")[2]
        spoken = () if content is None else (_part(file.place, stem, "content", content),)
        found[file.name] = Recording(file.place, sides[speaker], (speaker, file.name, *spoken), file.data)
    return list(found.values())


def _files(speaker: Path) -> list[Path]:
    found = sorted(
        file for file in speaker.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not found:
        raise MissingFileError(f"the folder {speaker} holds no recording ({', '.join(SUFFIXES)}); remove or fill it")
    return found


def _pattern(name: str, text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{name} = '{text}' is not a regular expression: {error}") from error
    if pattern.groups != 1:
        raise ConfigError(f"{name} = '{text}' has {pattern.groups} groups; expected one, such as '-(\\d+)-'")
    return pattern


def _part(file: Path, text: str, what: str, pattern: re.Pattern[str]) -> str:
    match = pattern.search(text)
    if match is None or match[1] is None:
        raise DataError(f"{file}: the name has no {what} '{pattern.pattern}'; rename the file or change the expression")
    return match[1]


def _licence(source: Path, archive: Zip | None) -> str:
    """Return the first line of the file LICENSE in the source."""
    file, data = source / "LICENSE", b""
    if archive is not None:
        name = next((name for name in archive.names if PurePosixPath(name).name == "LICENSE"), None)
        data = archive.read(name, LICENCE) if name else data
    elif file.is_file():
        data = read_file(file, LICENCE)
    lines = data.decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), UNKNOWN)
