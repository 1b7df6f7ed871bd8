"""The Sprites benchmark of Li & Mandt (2018), composed from the sheets of the Liberated Pixel Cup.

1,296 characters (6 skins x 6 pants x 6 tops x 6 hairs) perform nine motions (3 actions x 3 directions) of 8 frames of
64x64 pixels: 9,000 training and 2,664 test sequences, split by character as in the original generator.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdkit.data.reading import PICTURE, Zip, library, listed, open_zip, read_file
from sdkit.data.said import NOTHING, Said
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter

if TYPE_CHECKING:
    from PIL.Image import Image

CELL = 64
COLUMNS, ROWS = 13, 21
VALUES = 6
CHARACTERS = VALUES**4
TRAIN_CHARACTERS = 1000
LAYERS = ("body", "bottomwear", "topwear", "hair")
"""Layers in drawing order, with shoes/1 above them; character = body * 216 + bottomwear * 36 + topwear * 6 + hair."""
SHOES = "shoes/1.png"
SHEETS = (*(f"{layer}/{value}.png" for layer in LAYERS for value in range(VALUES)), SHOES)

# Cell number = row * 13 + column, for the left direction; front lies one row below and right two rows below.
ACTIONS = {
    "walk": (125, 118, 119, 120, 121, 122, 123, 124),
    "spellcard": (13, 14, 15, 16, 17, 18, 17, 19),
    "slash": (169, 170, 171, 172, 173, 174, 173, 169),
}
DIRECTIONS = {"front": COLUMNS, "left": 0, "right": 2 * COLUMNS}
MOTIONS = tuple(f"{action} {direction}" for action, direction in product(ACTIONS, DIRECTIONS))
CELLS = tuple(cell + DIRECTIONS[d] for a, d in product(ACTIONS, DIRECTIONS) for cell in ACTIONS[a])
FRAMES = 8


def factors() -> tuple[Factor, ...]:
    """Return the four static factors and the motion, class = 3 * action + direction."""
    values = tuple(map(str, range(VALUES)))
    static = tuple(Factor(name, "static", values) for name in ("skin", "pant", "top", "hair"))
    return (*static, Factor("motion", "dynamic", MOTIONS))


def make(
    sheets: str | Path,
    path: str | Path,
    *,
    val_fraction: float = 0.0,
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Compose the benchmark from a folder or zip of sheets and write it as a sequence file.

    The file holds the 9,000 training sequences, then the 2,664 test sequences, each part in the original's order.

    Args:
        sheets: a folder or zip with body, bottomwear, topwear, hair/0..5.png and shoes/1.png.
        path: the file to write.
        val_fraction: share of the 1,000 training characters that are a validation split instead. The benchmark has
            none, and neither has the file by default; training then holds out characters itself.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress.

    Raises:
        ConfigError: a share that leaves no character to train or to validate on.
        MissingFileError: the folder, the zip or one of its sheets is missing.
        FileFormatError: a sheet is not an image of 832x1344 pixels.
        OutputExistsError: `path` exists and `force` is off.
    """
    reporter = reporter or Quiet()
    element = Element("image", (3, CELL, CELL), "uint8", ("grey level",))
    source = "LPC sprite sheets as arranged by github.com/YingzhenLi/Sprites"
    meta = SequenceMeta(element, "sprites", factors(), source=source, licence="CC-BY-SA-3.0 OR GPL-3.0")
    with SequenceWriter(path, said.of(meta), compression=compression, force=force) as writer:
        strips = compose(sheets, reporter)
        train, test = order()
        reporter.start("writing sequences", len(train) + len(test))
        for start in range(0, len(train) + len(test), 256):
            part = np.concatenate([train, test])[start : start + 256]
            characters, motions = part // len(MOTIONS), part % len(MOTIONS)
            writer.write(strips[characters, motions], labels=labels(characters, motions))
            reporter.advance(len(part))
        reporter.finish()
        writer.splits({**held_out(train, val_fraction), "test": range(len(train), len(train) + len(test))})
    return Path(path)


def held_out(train: NDArray[np.int64], val_fraction: float) -> dict[str, NDArray[np.int64]]:
    """Return the rows of `train`, and of `val` where a share is held out: all motions of the first characters drawn.

    Args:
        train: training sequences as numbers 9 * character + motion, in order.
        val_fraction: share of the characters that are held out.

    Raises:
        ConfigError: a share that leaves no character to train or to validate on.
    """
    rows = np.arange(len(train))
    if val_fraction == 0:
        return {"train": rows}
    characters = np.unique(train // len(MOTIONS))
    count = round(val_fraction * len(characters)) if 0 < val_fraction < 1 else 0
    if not 0 < count < len(characters):
        raise ConfigError(
            f"val_fraction = {val_fraction:g}; expected 0, or a share that leaves characters on both sides"
        )
    chosen = np.isin(train // len(MOTIONS), np.random.default_rng(0).permutation(characters)[:count])
    return {"train": rows[~chosen], "val": rows[chosen]}


def order() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sequences of the training and test part, in order, as numbers 9 * character + motion.

    The original shuffles the characters with the legacy generator seeded 423 and takes the first 1,000 for training,
    then concatenates the nine motions of each and shuffles each part with the legacy generator seeded 0.
    """
    characters = np.random.RandomState(423).permutation(CHARACTERS)
    shuffle = np.random.RandomState(0)
    parts = []
    for part in (characters[:TRAIN_CHARACTERS], characters[TRAIN_CHARACTERS:]):
        blocks = np.concatenate([part * len(MOTIONS) + motion for motion in range(len(MOTIONS))])
        parts.append(blocks[shuffle.permutation(len(blocks))].astype(np.int64))
    return parts[0], parts[1]


def labels(characters: NDArray[np.int64], motions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels (B, 5): skin, pant, top, hair, motion."""
    digits = [characters // VALUES**power % VALUES for power in (3, 2, 1, 0)]
    return np.stack([*digits, motions], axis=1)


def compose(sheets: str | Path, reporter: Reporter | None = None) -> NDArray[np.uint8]:
    """Return every character in every motion, (1296, 9, 8, 3, 64, 64) uint8, composed on opaque black."""
    from PIL import Image

    reporter = reporter or Quiet()
    layers, shoes = _load(sheets)
    out = np.empty((CHARACTERS, len(MOTIONS), FRAMES, 3, CELL, CELL), np.uint8)
    black = Image.new("RGBA", shoes.size, (0, 0, 0, 255))
    reporter.start("composing characters", CHARACTERS)
    # Figures share their lower layers, so each prefix of layers is composed once.
    for body in range(VALUES):
        skin = Image.alpha_composite(black, layers[0][body])
        for bottom in range(VALUES):
            dressed = Image.alpha_composite(skin, layers[1][bottom])
            for top in range(VALUES):
                topped = Image.alpha_composite(dressed, layers[2][top])
                for hair in range(VALUES):
                    figure = Image.alpha_composite(Image.alpha_composite(topped, layers[3][hair]), shoes)
                    out[((body * VALUES + bottom) * VALUES + top) * VALUES + hair] = _frames(figure)
                reporter.advance(VALUES)
    reporter.finish()
    return out


def _frames(strip: "Image") -> NDArray[np.uint8]:
    pixels = np.asarray(strip.convert("RGB"))  # (64, 72 * 64, 3)
    cells = pixels.reshape(CELL, len(MOTIONS), FRAMES, CELL, 3)
    return np.ascontiguousarray(cells.transpose(1, 2, 4, 0, 3))


def _load(sheets: str | Path) -> tuple[list[list["Image"]], "Image"]:
    with _source(Path(sheets)) as source:
        layers = [[source.strip(f"{layer}/{value}.png") for value in range(VALUES)] for layer in LAYERS]
        return layers, source.strip(SHOES)


class _Folder:
    """Sheets in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def strip(self, name: str) -> "Image":
        """Return the 72 cells of a sheet side by side, RGBA."""
        path = self.root / name
        if not path.is_file():
            raise MissingFileError(
                f"the sheet {path} is missing; expected body, bottomwear, topwear, hair/0..5.png and {SHOES}"
            )
        return _strip(read_file(path, PICTURE), str(path))


class _Zip:
    """Sheets in a zip, at its top level or inside one folder."""

    def __init__(self, archive: Zip) -> None:
        self.archive = archive
        self.names: dict[str, str] = {}
        for name in archive.names:
            sheet = "/".join(name.split("/")[-2:])
            if sheet in SHEETS and sheet in self.names:
                raise FileFormatError(f"{archive.place} holds {sheet} twice: {listed([self.names[sheet], name])}")
            self.names[sheet] = name

    def strip(self, name: str) -> "Image":
        """Return the 72 cells of a sheet side by side, RGBA."""
        if name not in self.names:
            raise MissingFileError(
                f"the sheet {name} is missing in {self.archive.place}; expected {', '.join(LAYERS)}/0..5.png "
                f"and {SHOES}"
            )
        place = self.archive.where(self.names[name])
        return _strip(self.archive.read(self.names[name], PICTURE), place)


@contextmanager
def _source(path: Path) -> Iterator[_Folder | _Zip]:
    if path.is_dir():
        yield _Folder(path)
    elif not path.is_file():
        raise MissingFileError(f"{path} does not exist; expected a folder or a zip of the LPC sheets")
    else:
        with open_zip(path) as archive:
            yield _Zip(archive)


def _strip(data: bytes, name: str) -> "Image":
    from PIL import Image

    expected = "an image that can be read"
    with library(f"the sheet {name}", expected):
        picture = Image.open(BytesIO(data), formats=["PNG"])
    if picture.size != (COLUMNS * CELL, ROWS * CELL):  # before any pixel is unpacked
        raise FileFormatError(
            f"the sheet {name} has {picture.size} pixels; expected {(COLUMNS * CELL, ROWS * CELL)} (13x21 cells of 64)"
        )
    with library(f"the sheet {name}", expected):
        sheet = picture.convert("RGBA")
    strip = Image.new("RGBA", (CELL * len(CELLS), CELL))
    for position, cell in enumerate(CELLS):
        row, column = divmod(cell, COLUMNS)
        box = (column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL)
        strip.paste(sheet.crop(box), (position * CELL, 0))
    return strip
