"""The built-in data set `puppets`: 1296 characters in nine motions each, drawn by sdkit itself.

A character is four static factors of six values; a motion is an action seen from a direction. Nothing is downloaded,
and the same numbers always give the same pixels.
"""

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdkit.data.puppet_art import HATS, motion_shares
from sdkit.data.puppet_poses import ACTIONS, STEPS
from sdkit.data.puppet_shapes import SHADES, SHARES, SIZE, Material
from sdkit.data.said import NOTHING, Said
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SPLITS, Factor, SequenceMeta, SequenceWriter

Integers = NDArray[np.int64]
Colour = tuple[int, int, int]

# Within a factor, colours differ in lightness as well as in hue, so that colour-blind readers can distinguish them.
SKINS: dict[str, Colour] = {
    "ivory": (250, 232, 208),
    "mint": (108, 204, 150),
    "sky": (92, 156, 244),
    "coral": (240, 128, 96),
    "violet": (150, 98, 196),
    "cocoa": (128, 80, 56),
}
SHIRTS: dict[str, Colour] = {
    "white": (244, 244, 240),
    "yellow": (244, 206, 52),
    "turquoise": (60, 190, 190),
    "orange": (232, 112, 32),
    "magenta": (190, 60, 130),
    "blue": (44, 92, 200),
}
TROUSERS: dict[str, Colour] = {
    "cream": (242, 232, 184),
    "pink": (236, 116, 172),
    "lime": (150, 190, 50),
    "grey": (96, 110, 120),
    "red": (200, 52, 48),
    "navy": (56, 68, 160),
}
HAT_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((248, 204, 60), (214, 50, 70)),
    ((134, 96, 206), (250, 214, 90)),
    ((216, 66, 52), (246, 240, 232)),
    ((58, 152, 232), (252, 226, 110)),
    ((244, 240, 240), (244, 150, 176)),
    ((124, 206, 84), (70, 150, 60)),
)
"""Colour and trim of each hat in HATS."""
COMMON: dict[Material, Colour] = {
    Material.BACKGROUND: (16, 18, 28),
    Material.FLOOR: (38, 42, 60),
    Material.SHOE: (184, 142, 104),
    Material.WHITE: (255, 255, 255),
    Material.INK: (24, 22, 34),
    Material.MOUTH: (120, 28, 44),
}
SHADE = 0.72
"""Brightness of a shade relative to its colour."""

DIRECTIONS = ("front", "left", "right")
STATIC = (6, 6, 6, 6)
"""Number of values of each static factor; a character number counts through them, the last one fastest."""
CHARACTERS = 6**4
MOTIONS = len(ACTIONS) * len(DIRECTIONS)

POOLS = {"train": 942, "val": 118, "test": 236}
"""Number of characters of each split, 8 : 1 : 2. They depend on no seed, so no file can leak a test character into
training."""
CHOSEN = {"train": 240, "val": 30, "test": 60}
"""Number of characters of each split in the default file, in all nine motions each."""
PARTS = {"train": 8, "val": 1, "test": 2}
POOL_SEED = 20240721
BATCH = 64


def factors() -> tuple[Factor, ...]:
    """Return the factors, in the order of the columns of `labels`; `motion` is 3 * action + direction."""
    motions = tuple(f"{action} {direction}" for action in ACTIONS for direction in DIRECTIONS)
    return (
        Factor("skin", "static", tuple(SKINS)),
        Factor("hat", "static", HATS),
        Factor("shirt", "static", tuple(SHIRTS)),
        Factor("trousers", "static", tuple(TROUSERS)),
        Factor("motion", "dynamic", motions),
    )


def labels(characters: Integers, motions: Integers) -> Integers:
    """Return labels (B, 5) of characters (B,) in motions (B,)."""
    return np.stack([*np.unravel_index(characters, STATIC), motions], axis=1).astype(np.int64)


def draw(characters: Integers, motions: Integers) -> NDArray[np.uint8]:
    """Draw sequences.

    Args:
        characters: numbers (B,) from 0 to 1295, see STATIC.
        motions: numbers (B,) from 0 to 8, 3 * action + direction.

    Returns:
        (B, T, C, H, W) with T = 8 and (C, H, W) = (3, 64, 64).

    Raises:
        DataError: numbers out of range, or not one motion for each character.
    """
    characters, motions = np.asarray(characters, np.int64), np.asarray(motions, np.int64)
    _check_numbers(characters, motions)
    drawings = characters // 36 % 6 * MOTIONS + motions
    out = np.empty((len(characters), STEPS, 3, SIZE, SIZE), np.uint8)
    for drawing in np.unique(drawings):
        mixtures, index = _drawing(*divmod(int(drawing), MOTIONS))
        rows = np.flatnonzero(drawings == drawing)
        for part in np.array_split(rows, -(-len(rows) // BATCH)):
            colours = (_palettes()[characters[part]] @ mixtures + SHARES // 2) // SHARES
            pixels = colours.astype(np.uint8).take(index, axis=2)
            out[part] = pixels.reshape(len(part), 3, STEPS, SIZE, SIZE).swapaxes(1, 2)
    return out


def make(
    path: str | Path,
    *,
    count: int | None = None,
    split: str | None = None,
    seed: int = 0,
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Write a file of puppets; the characters of its splits differ, whatever the seeds.

    Args:
        path: the file to write.
        count: number N of sequences. By default 240, 30 and 60 characters for train, val and test, in all nine
            motions: 2970. Otherwise random characters in balanced motions; beyond 9 sequences a character of the
            pool, they repeat.
        split: the only split to write; by default all three, 8 : 1 : 2.
        seed: seed of the choice of characters and their order, never of the split that a character belongs to.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives the progress.

    Returns:
        The path of the file.

    Raises:
        ConfigError: `count` below 1, an unknown `split` or `compression`, a negative `seed`.
        OutputExistsError, MissingFileError: the file exists, or its folder does not.
    """
    path, reporter = Path(path), reporter or Quiet()
    characters, motions, parts = _choose(count, split, seed)
    with SequenceWriter(path, said.of(_meta()), compression=compression, force=force) as writer:
        reporter.start("drawing puppets", len(characters))
        try:
            for start in range(0, len(characters), BATCH):
                c, m = characters[start : start + BATCH], motions[start : start + BATCH]
                writer.write(draw(c, m), labels=labels(c, m))
                reporter.advance(len(c))
        finally:
            reporter.finish()
        writer.splits(parts)
    return path


def pool(split: str) -> Integers:
    """Return the characters (P,) that may appear in a split, in a fixed order.

    Raises:
        ConfigError: an unknown split.
    """
    _check_split(split)
    edges = np.cumsum([POOLS[name] for name in SPLITS])[:-1]
    return np.split(_permutation(CHARACTERS, POOL_SEED), edges)[SPLITS.index(split)]


def _meta() -> SequenceMeta:
    element = Element("image", (3, SIZE, SIZE), "uint8", units=("grey level",))
    return SequenceMeta(
        element, name="puppets", factors=factors(), rate=8.0, source="drawn by sdkit", licence="CC0-1.0"
    )


def _choose(count: int | None, split: str | None, seed: int) -> tuple[Integers, Integers, dict[str, Integers]]:
    """Return characters (N,), motions (N,) and the indices of each split, in their shuffled order."""
    if count is not None and count < 1:
        raise ConfigError(f"count is {count}; a file holds at least 1 sequence")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; choose 0 or more")
    if split is not None:
        _check_split(split)
    names = SPLITS if split is None else (split,)
    sizes = _sizes(count, names)
    pairs = [_pairs(name, size, seed, whole=count is None) for name, size in zip(names, sizes, strict=True)]
    order = _permutation(sum(sizes), seed, len(SPLITS))
    characters, motions = np.concatenate(pairs, axis=1)[:, order]
    origin = np.repeat(np.arange(len(names)), sizes)[order]
    return characters, motions, {name: np.flatnonzero(origin == i) for i, name in enumerate(names) if sizes[i]}


def _sizes(count: int | None, names: tuple[str, ...]) -> list[int]:
    if count is None:
        return [CHOSEN[name] * MOTIONS for name in names]
    total = sum(PARTS[name] for name in names)
    sizes = [count * PARTS[name] // total for name in names]
    return [sizes[0] + count - sum(sizes), *sizes[1:]]


def _pairs(split: str, size: int, seed: int, *, whole: bool) -> Integers:
    """Return characters and motions (2, size) of a split, motions balanced; `whole` characters have all nine."""
    characters, stream = pool(split), SPLITS.index(split)
    order = _permutation(MOTIONS, seed, stream, MOTIONS)  # which motions get one more where 9 does not divide the size
    turn, motions = np.arange(size) // MOTIONS, order[np.arange(size) % MOTIONS]
    shuffles = np.stack([_permutation(len(characters), seed, stream, 0 if whole else m) for m in range(MOTIONS)])
    return np.stack([characters[shuffles[motions, turn % len(characters)]], motions])


def _permutation(size: int, *seed: int) -> Integers:
    # numpy guarantees the raw words of a bit generator, but not what Generator.permutation makes of them.
    words = np.random.Philox(np.random.SeedSequence(seed)).random_raw(size)
    return np.argsort(words, kind="stable").astype(np.int64)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ConfigError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}")


def _check_numbers(characters: Integers, motions: Integers) -> None:
    if characters.ndim != 1 or characters.shape != motions.shape:
        raise DataError(f"characters {characters.shape} and motions {motions.shape} must both have the shape (B,)")
    for name, numbers, limit in (("characters", characters, CHARACTERS), ("motions", motions, MOTIONS)):
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= limit):
            raise DataError(f"{name} run from {numbers.min()} to {numbers.max()}; they are numbers 0..{limit - 1}")


@cache
def _shares(hat: int, motion: int) -> NDArray[np.uint8]:
    """Return shares (materials, T, H, W) of a motion, the direction left mirrored from right."""
    action, direction = divmod(motion, len(DIRECTIONS))
    if DIRECTIONS[direction] == "left":
        return _shares(hat, motion + 1)[..., ::-1]
    return motion_shares(hat, action, side=DIRECTIONS[direction] == "right")


@cache
def _drawing(hat: int, motion: int) -> tuple[NDArray[np.uint16], Integers]:
    """Return a motion as some 500 distinct mixtures (materials, K) and the mixture of each pixel, (T * H * W,)."""
    flat = _shares(hat, motion).reshape(len(Material), -1)
    # A share is 0..16, so the shares of 15 materials are the digits of one number that fits into 64 bits.
    key = np.power(SHARES + 1, np.arange(len(Material)), dtype=np.int64) @ flat.astype(np.int64)
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    return flat[:, first].astype(np.uint16), index.astype(np.int64)


@lru_cache(maxsize=1)
def _palettes() -> NDArray[np.uint16]:
    """Return colours (characters, C, materials)."""
    skin, hat, shirt, trousers = np.unravel_index(np.arange(CHARACTERS), STATIC)
    colours = np.zeros((CHARACTERS, len(Material), 3))
    for material, colour in COMMON.items():
        colours[:, material] = colour
    colours[:, Material.SKIN] = np.array(list(SKINS.values()))[skin]
    colours[:, Material.SHIRT] = np.array(list(SHIRTS.values()))[shirt]
    colours[:, Material.TROUSERS] = np.array(list(TROUSERS.values()))[trousers]
    colours[:, Material.HAT] = np.array(HAT_COLOURS)[hat, 0]
    colours[:, Material.HAT_TRIM] = np.array(HAT_COLOURS)[hat, 1]
    for material, shade in SHADES.items():
        colours[:, shade] = np.rint(SHADE * colours[:, material])
    return np.ascontiguousarray(colours.swapaxes(1, 2), np.uint16)
