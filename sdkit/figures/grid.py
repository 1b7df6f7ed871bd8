"""Pictures of image sequences: strips of frames in labelled rows, and animations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import DataError
from sdkit.runtime.output import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
GAP = 4
MARGIN = 8
FONT_SIZE = 15
PAPER, INK = (255, 255, 255), (40, 40, 40)


def strip(sequence: Array, element: Element) -> Pixels:
    """Return the frames of one sequence (T, C, H, W), in data units, side by side: (H, T * W, 3) uint8.

    Raises:
        DataError: elements that are not images of one or three channels.
    """
    return np.concatenate(list(frames(sequence, element)), axis=1)


def frames(sequence: Array, element: Element) -> Pixels:
    """Return the frames of one sequence (T, C, H, W), in data units, as (T, H, W, 3) uint8."""
    if not element.drawable:
        raise DataError(f"pictures are drawn of images with 1 or 3 channels, not of {element.describe()}")
    pixels = np.clip(np.rint(sequence.astype(np.float32) * (255.0 / element.high)), 0, 255).astype(np.uint8)
    pixels = pixels.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)))


def swap_grid(
    a: Array, b: Array, static_a_dynamic_b: Array, static_b_dynamic_a: Array, element: Element, *, scale: int = 1
) -> "Image":
    """Return a picture of swapped pairs, a block of four rows a pair.

    Args:
        a, b: (P, T, C, H, W) pairs.
        static_a_dynamic_b, static_b_dynamic_a: (P, T, C, H, W) decoded.
        element: of all four.
        scale: pixels of the picture a pixel of the data.
    """
    names = ("a", "b", "static of a,\ndynamic of b", "static of b,\ndynamic of a")
    blocks = [
        [(name, strip(row, element)) for name, row in zip(names, rows, strict=True)]
        for rows in zip(a, b, static_a_dynamic_b, static_b_dynamic_a, strict=True)
    ]
    return labelled(blocks, scale=scale)


def rows_grid(rows: Sequence[tuple[str, Array]], element: Element, *, scale: int = 1) -> "Image":
    """Return a picture of labelled sequences, one a row; each (T, C, H, W)."""
    return labelled([[(name, strip(sequence, element)) for name, sequence in rows]], scale=scale)


def labelled(blocks: Sequence[Sequence[tuple[str, Pixels]]], *, scale: int = 1) -> "Image":
    """Return blocks of labelled strips, one below the other, on white, labels at the left."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    names = [name for block in blocks for name, _ in block]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    gutter = max(int(measure.multiline_textbbox((0, 0), name, font=font)[2]) for name in names) + 2 * MARGIN
    width = max(pixels.shape[1] for block in blocks for _, pixels in block) * scale
    height = sum(pixels.shape[0] * scale + GAP for block in blocks for _, pixels in block)
    height += MARGIN * (len(blocks) + 1)
    picture = Image.new("RGB", (gutter + width + MARGIN, height), PAPER)
    draw = ImageDraw.Draw(picture)
    y = MARGIN
    for block in blocks:
        for name, pixels in block:
            tall = pixels.shape[0] * scale
            row = Image.fromarray(pixels).resize((pixels.shape[1] * scale, tall), Image.Resampling.NEAREST)
            picture.paste(row, (gutter, y))
            draw.multiline_text((MARGIN, y + tall // 2), name, fill=INK, font=font, anchor="lm")
            y += tall + GAP
        y += MARGIN
    return picture


def tiles(sequences: Array, element: Element, *, scale: int = 1, columns: int | None = None) -> "list[Image]":
    """Return one picture a step, each showing all sequences (P, T, C, H, W) as tiles: the frames of an animation."""
    from PIL import Image

    clips = [frames(sequence, element) for sequence in sequences]
    count, steps = sequences.shape[:2]
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    _, height, width = element.shape
    sheets = np.full((steps, rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, clip in enumerate(clips):
        y, x = i // columns * (height + GAP), i % columns * (width + GAP)
        sheets[:, y : y + height, x : x + width] = clip
    size = (sheets.shape[2] * scale, sheets.shape[1] * scale)
    return [Image.fromarray(sheet).resize(size, Image.Resampling.NEAREST) for sheet in sheets]


def save(picture: "Image | list[Image]", path: str | Path, *, rate: float = 8.0, force: bool = True) -> Path:
    """Write a picture, or an animation of several as a GIF that repeats; whole or not at all.

    Args:
        picture: one, or the frames of an animation.
        path: ending .png for one, .gif for an animation.
        rate: frames a second.
        force: replace an existing file.

    Raises:
        OutputExistsError, MissingFileError: as `replacing`.
    """
    path = Path(path)
    with replacing(path, force=force) as temporary, temporary.open("wb") as stream:
        if isinstance(picture, list):
            first, *others = picture
            first.save(stream, "GIF", save_all=True, append_images=others, duration=round(1000 / rate), loop=0)
        else:
            picture.save(stream, "PNG", optimize=True)
    return path
