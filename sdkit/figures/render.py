"""`render`: a picture or an animation of any sequence or swap file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdkit.figures.axis_scales import Scales, read_scales
from sdkit.figures.draw import check_drawable, draw_clip, draw_rows, draw_swap
from sdkit.figures.style import save
from sdkit.runtime import kinds
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, FileFormatError, first_line
from sdkit.runtime.storage.hdf5 import LazyFile
from sdkit.runtime.storage.output import check_output
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.verbs.files import SWAPPED, SWAPPED_LENGTHS

ENDINGS = (".png", ".gif")


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
    file_a, file_b, mixed = SequenceFile(a), SequenceFile(b), LazyFile(swapped)
    part = slice(0, min(count, len(mixed.dataset(SWAPPED[0], "(N, T, *element)"))))
    x, y = (_cut(file.read(part), file.lengths(), part) for file in (file_a, file_b))
    ab, ba = _mixtures(mixed, part)
    note = f"a: {_title(file_a)}; b: {_title(file_b)}."
    scales = read_scales(file_a.handle.attrs, file_a.element)
    picture = draw_swap(x, y, ab, ba, file_a.element, scales=scales, note=note)
    return save(picture, target, force=force)


def _load(path: Path, split: str | None, first: int, count: int) -> _Rows:
    file = LazyFile(path)
    if SWAPPED[0] in file.handle:
        return _load_swapped(file, first, count)
    if "data" not in file.handle and "static" in file.handle:
        raise FileFormatError(f"{path} holds codes, which have no picture; `sdkit decode {path}` first")
    sequences = SequenceFile(path)
    check_drawable(sequences.element)
    index = sequences.select(split)[first : first + count]
    if len(index) == 0:
        raise ConfigError(f"{path} has no sequence number {first} to draw")
    part = "" if split in (None, "all") else f", {split} split"
    meta = sequences.meta
    note = f"{_title(sequences)}{part}: {meta.element.describe()}." + (f" {meta.source}." if meta.source else "")
    cut = _cut(sequences.read(index), sequences.lengths(), index)
    scales = read_scales(sequences.handle.attrs, meta.element)
    prefix = "" if meta.element.traits.pictorial else "sequence "
    return _Rows([f"{prefix}{i}" for i in index], cut, meta.element, meta.rate, scales, note)


def _load_swapped(file: LazyFile, first: int, count: int) -> _Rows:
    part = slice(first, first + count)
    element = _swap_element(file)
    scales = read_scales(file.handle.attrs, element)
    check_drawable(element)
    pairs = list(zip(*_mixtures(file, part), strict=True))
    if not pairs:
        raise ConfigError(f"{file.path} has no pair number {first} to draw")
    names = [
        f"{first + i}, {text}" for i in range(len(pairs)) for text in ("static a, dynamic b", "static b, dynamic a")
    ]
    source = str(file.handle.attrs.get("source", ""))
    note = f"{file.path.name}: {element.describe()}." + (f" {source}." if source else "")
    return _Rows(names, [x for pair in pairs for x in pair], element, None, scales, note)


def _mixtures(file: LazyFile, part: slice) -> tuple[list[Array], list[Array]]:
    """Return both mixtures of the pairs of a swap file, each (T, *element) of its own length."""
    mixtures = []
    count = len(file.dataset(SWAPPED[0], "(N, T, *element)"))
    for name, lengths_name in zip(SWAPPED, SWAPPED_LENGTHS, strict=True):
        data, lengths = file.dataset(name, "(N, T, *element)"), file.whole_numbers(lengths_name, 1)
        if len(data) != count or (lengths is not None and (len(lengths) != count or lengths.min(initial=1) < 1)):
            raise FileFormatError(f"{file.path}: data set '{name}' or its lengths do not fit {count} pairs")
        mixtures.append(_cut(np.asarray(data[part]), lengths, part))
    return mixtures[0], mixtures[1]


def _swap_element(file: LazyFile) -> Element:
    """Return the element of a swap file; without an attribute it follows from the axes."""
    data, attributes = file.dataset(SWAPPED[0], "(N, T, *element)"), file.handle.attrs
    presumed = kinds.by_axes(data.ndim)
    kind = attributes.get("element") or (presumed and presumed.name)
    try:
        texts: list[Any] = [tuple(json.loads(attributes.get(name) or "[]")) for name in ("units", "feature_names")]
        return Element(kind, tuple(map(int, data.shape[2:])), str(data.dtype), *texts)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{file.path}: data set '{SWAPPED[0]}' has shape {data.shape}, which its attributes element = {kind}, "
            f"units and feature_names do not describe ({first_line(error)})"
        ) from error


def _cut(x: Array, lengths: Indices | None, rows: slice | Indices) -> list[Array]:
    return list(x) if lengths is None else [row[:length] for row, length in zip(x, lengths[rows], strict=True)]


def _held(sequences: list[Array]) -> Array:
    """Return sequences (P, T, *element) of one length, the shorter ones continued by their last element."""
    steps = np.arange(max(map(len, sequences)))
    return np.stack([x[np.minimum(steps, len(x) - 1)] for x in sequences])


def _title(file: SequenceFile) -> str:
    return file.meta.name or file.path.name
