"""`render`: a picture or an animation of any sequence or swap file."""

import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdkit.figures.axis_scales import Scales, read_scales
from sdkit.figures.draw import check_drawable, draw_clip, draw_rows, draw_swap
from sdkit.figures.style import save
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, FileFormatError
from sdkit.runtime.storage.hdf5 import LazyFile
from sdkit.runtime.storage.output import check_output
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.storage.swap_file import SWAPPED, SwapFile

ENDINGS = (".png", ".gif")
MOST_SOURCE = 400
"""Largest number of characters of a source in a caption."""


class _Rows(NamedTuple):
    """The sequences of a file that are drawn."""

    names: list[str]
    sequences: list[Array]
    """Sequences, each (T, *element), cut to its own length."""
    element: Element
    rate: float | None
    """Number of elements a second in an animation."""
    scales: Scales
    note: str


def render(
    source: str | Path,
    target: str | Path,
    *,
    split: str | None = None,
    count: int = 8,
    first: int = 0,
    scale: int = 1,
    rate: float | None = None,
    force: bool = False,
) -> Path:
    """Draw sequences of a file: a captioned PNG, or a GIF in which all play at once.

    A PNG has one row for each image sequence, one column for each series or sequence of vectors with a row for each
    feature, or one panel for each spectrum.

    Args:
        source: sequence file, or swap file of `swap`.
        target: path of the picture, ending in .png or .gif; a GIF is drawn of images only.
        split: `train`, `val`, `test`, or all.
        count: number of sequences (or swapped pairs), fewer if there are no more.
        first: number of sequences to skip.
        scale: pixels of the picture for each pixel of the data; images only.
        rate: frames a second of a GIF; the file's own rate, else 8, when None.
        force: replace an existing picture.

    Raises:
        ConfigError: another ending, a rate that no GIF has, a scale without images, or nothing to draw.
        DataError: images of other than one or three channels, or an animation of other elements.
        FileFormatError, MissingFileError: a file that holds no sequences.
        MissingExtraError: other elements than images without matplotlib.
        OutputExistsError: `target` exists and `force` is off.

    >>> sdkit.render("puppets.h5", "puppets.png", count=2).name
    'puppets.png'
    """
    target = Path(target)
    if target.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{target}: a picture ends in .png or .gif")
    if count < 1 or first < 0 or scale < 1:
        raise ConfigError(f"count = {count}, first = {first}, scale = {scale}: count and scale start at 1, first at 0")
    if rate is not None and not 0 < rate <= 100:
        raise ConfigError(f"rate = {rate:g}: a GIF shows more than 0 and at most 100 frames a second")
    check_output(target, force=force)
    rows = _load(Path(source), split, first, count)
    if target.suffix.lower() == ".gif":
        clip = draw_clip(_held(rows.sequences), rows.element, scale=scale)
        return save(clip, target, rate=rate or rows.rate or 8.0, force=force)
    named = list(zip(rows.names, rows.sequences, strict=True))
    return save(draw_rows(named, rows.element, scales=rows.scales, scale=scale, note=rows.note), target, force=force)


def render_swap(
    a: str | Path, b: str | Path, swapped: str | Path, target: str | Path, *, count: int = 6, force: bool = False
) -> Path:
    """Draw the first pairs of a swap: both sequences, then both mixtures.

    Args:
        a, b: the sequence files that were swapped.
        swapped: swap file of `swap`.
        target: path of the PNG.
        count: number of pairs, fewer if there are no more.
        force: replace an existing picture.

    >>> swapped = rt.swap_file("puppets.h5", "puppets.h5", "swap.h5", count=4)
    >>> sdkit.render_swap("puppets.h5", "puppets.h5", swapped, "swap.png").name
    'swap.png'
    """
    file_a, file_b, mixed = SequenceFile(a), SequenceFile(b), SwapFile(swapped)
    part = slice(0, min(count, mixed.count, file_a.count, file_b.count))
    x, y = (_cut(file.read(part), file.lengths(), part) for file in (file_a, file_b))
    ab, ba = mixed.read(part)
    note = f"a: {_title(file_a)}; b: {_title(file_b)}."
    scales = read_scales(file_a.scales(), file_a.element)
    picture = draw_swap(x, y, ab, ba, file_a.element, scales=scales, note=note)
    return save(picture, target, force=force)


def _load(path: Path, split: str | None, first: int, count: int) -> _Rows:
    with LazyFile(path) as file:
        names = file.names
    if SWAPPED[0] in names:
        return _load_swapped(SwapFile(path), first, count)
    if "data" not in names and "static" in names:
        raise FileFormatError(f"{path} holds codes, which have no picture; `sdkit decode {path}` first")
    sequences = SequenceFile(path)
    check_drawable(sequences.element)
    index = sequences.select(split)[first : first + count]
    if len(index) == 0:
        raise ConfigError(f"{path} has no sequence number {first} to draw")
    part = "" if split in (None, "all") else f", {split} split"
    meta = sequences.meta
    note = f"{_title(sequences)}{part}: {meta.element.describe()}." + _source(meta.source)
    cut = _cut(sequences.read(index), sequences.lengths(), index)
    scales = read_scales(sequences.scales(), meta.element)
    prefix = "" if meta.element.traits.pictorial else "sequence "
    return _Rows([f"{prefix}{i}" for i in index], cut, meta.element, meta.rate, scales, note)


def _load_swapped(file: SwapFile, first: int, count: int) -> _Rows:
    element = file.element
    check_drawable(element)
    pairs = list(zip(*file.read(slice(first, first + count)), strict=True))
    if not pairs:
        raise ConfigError(f"{file.path} has no pair number {first} to draw")
    names = [
        f"{first + i}, {text}" for i in range(len(pairs)) for text in ("static a, dynamic b", "static b, dynamic a")
    ]
    note = f"{file.path.name}: {element.describe()}." + _source(file.text("source"))
    return _Rows(names, [x for pair in pairs for x in pair], element, None, read_scales(file.scales(), element), note)


def _cut(x: Array, lengths: Indices | None, rows: slice | Indices) -> list[Array]:
    return list(x) if lengths is None else [row[:length] for row, length in zip(x, lengths[rows], strict=True)]


def _held(sequences: list[Array]) -> Array:
    """Return sequences (P, T, *element) of one length, the shorter ones continued by their last element."""
    steps = np.arange(max(map(len, sequences)))
    return np.stack([x[np.minimum(steps, len(x) - 1)] for x in sequences])


def _source(text: str) -> str:
    return f" {textwrap.shorten(text, MOST_SOURCE, placeholder=' ...')}." if text else ""


def _title(file: SequenceFile) -> str:
    return file.meta.name or file.path.name
