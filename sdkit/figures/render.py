"""`render`: a picture or an animation of any sequence or swap file."""

from pathlib import Path

import numpy as np

from sdkit.figures.grid import rows_grid, save, swap_grid, tiles
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError
from sdkit.runtime.files import SWAPPED
from sdkit.runtime.hdf5 import LazyFile
from sdkit.runtime.output import check_output
from sdkit.runtime.sequences import SequenceFile

ENDINGS = (".png", ".gif")


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
    """Draw sequences of a file: a PNG with one sequence a row, or a GIF in which all play at once.

    Args:
        source: a sequence file, or what `swap` wrote.
        target: the picture, ending .png or .gif.
        split: `train`, `val`, `test`, or all.
        count: how many sequences (or swapped pairs), fewer if there are no more.
        first: skip so many.
        scale: pixels of the picture a pixel of the data.
        rate: frames a second of a GIF; the file's own rate, else 8, when None.
        force: replace an existing picture.

    Raises:
        ConfigError: another ending, a rate that no GIF has, or nothing to draw.
        DataError: elements that are not images.
        FileFormatError, MissingFileError: a file that holds no sequences.
        OutputExistsError: `target` exists and `force` is off.
    """
    target = Path(target)
    if target.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{target}: a picture ends in .png or .gif")
    if count < 1 or first < 0 or scale < 1:
        raise ConfigError(f"count = {count}, first = {first}, scale = {scale}: count and scale start at 1, first at 0")
    if rate is not None and not 0 < rate <= 100:
        raise ConfigError(f"rate = {rate:g}: a GIF shows more than 0 and at most 100 frames a second")
    check_output(target, force=force)
    names, sequences, element, own_rate = _load(Path(source), split, first, count)
    if target.suffix.lower() == ".gif":
        return save(tiles(sequences, element, scale=scale), target, rate=rate or own_rate or 8.0, force=force)
    return save(rows_grid(list(zip(names, sequences, strict=True)), element, scale=scale), target, force=force)


def render_swap(
    a: str | Path, b: str | Path, swapped: str | Path, target: str | Path, *, count: int = 6, force: bool = False
) -> Path:
    """Draw the first pairs of a swap: both sequences, then both mixtures, a row each.

    Args:
        a, b: the sequence files that were swapped.
        swapped: what `swap` wrote.
        target: the PNG.
        count: pairs, fewer if there are no more.
        force: replace an existing picture.
    """
    file_a, file_b, mixed = SequenceFile(a), SequenceFile(b), LazyFile(swapped)
    part = slice(0, min(count, len(mixed.dataset(SWAPPED[0], "(N, T, C, H, W)"))))
    ab, ba = (mixed.dataset(name, "(N, T, C, H, W)")[part] for name in SWAPPED)
    return save(swap_grid(file_a.read(part), file_b.read(part), ab, ba, file_a.element), target, force=force)


def _load(path: Path, split: str | None, first: int, count: int) -> tuple[list[str], Array, Element, float | None]:
    file = LazyFile(path)
    if SWAPPED[0] in file.handle:
        return _load_swapped(file, first, count)
    if "data" not in file.handle and "static" in file.handle:
        raise FileFormatError(f"{path} holds codes, which have no picture; `sdkit decode {path}` first")
    sequences = SequenceFile(path)
    index = sequences.select(split)[first : first + count]
    if len(index) == 0:
        raise ConfigError(f"{path} has no sequence number {first} to draw")
    return [f"{i}" for i in index], sequences.read(index), sequences.element, sequences.meta.rate


def _load_swapped(file: LazyFile, first: int, count: int) -> tuple[list[str], Array, Element, None]:
    part = slice(first, first + count)
    ab, ba = (np.asarray(file.dataset(name, "(N, T, C, H, W)")[part]) for name in SWAPPED)
    if len(ab) == 0:
        raise ConfigError(f"{file.path} has no pair number {first} to draw")
    if ab.ndim != 5:
        raise DataError(f"{file.path}: pictures are drawn of images (N, T, C, H, W), not of shape {ab.shape}")
    steps = min(ab.shape[1], ba.shape[1])
    rows = np.stack([ab[:, :steps], ba[:, :steps]], 1).reshape(-1, steps, *ab.shape[2:])
    names = [f"{first + i}, {text}" for i in range(len(ab)) for text in ("static a, dynamic b", "static b, dynamic a")]
    return names, rows, Element("image", tuple(ab.shape[2:]), str(ab.dtype)), None  # type: ignore[arg-type]
