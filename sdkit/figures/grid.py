"""Pictures of image sequences: strips of frames in labelled rows, and animations."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdkit.figures.base import SWAP_NAMES
from sdkit.figures.style import INK, PAPER
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
GAP = 4
MARGIN = 8
FONT_SIZE = 15
CAPTION_SIZE = 13
NARROWEST = 420
"""Least width in pixels of a picture with a caption, so that the caption has room."""


def strip(sequence: Array, element: Element) -> Pixels:
    """Return the frames of one sequence (T, C, H, W), in data units, side by side: (H, T * W, 3) uint8.

    Raises:
        DataError: elements that are not images of one or three channels.
    """
    return np.concatenate(list(frames(sequence, element)), axis=1)


def frames(sequence: Array, element: Element) -> Pixels:
    """Return the frames of one sequence (T, C, H, W), in data units, as (T, H, W, 3) uint8."""
    if not (element.traits.pictorial and element.drawable):
        raise DataError(f"pictures are drawn of images with 1 or 3 channels, not of {element.describe()}")
    pixels = np.clip(np.rint(sequence.astype(np.float32) * (255.0 / element.high)), 0, 255).astype(np.uint8)
    pixels = pixels.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)))


def swap_grid(
    a: Iterable[Array],
    b: Iterable[Array],
    static_a_dynamic_b: Iterable[Array],
    static_b_dynamic_a: Iterable[Array],
    element: Element,
    *,
    scale: int = 1,
    caption: str = "",
) -> "Image":
    """Return a picture of swapped pairs, a block of four rows a pair (paper figs. 3, 11, 12).

    Args:
        a, b: the pairs, each (T, C, H, W); T may differ.
        static_a_dynamic_b, static_b_dynamic_a: the mixtures, each (T, C, H, W).
        element: element of all four.
        scale: pixels of the picture for each pixel of the data.
        caption: text below the picture.
    """
    blocks = [
        [(name, strip(row, element)) for name, row in zip(SWAP_NAMES, rows, strict=True)]
        for rows in zip(a, b, static_a_dynamic_b, static_b_dynamic_a, strict=True)
    ]
    return labelled(blocks, scale=scale, caption=caption)


def rows_grid(rows: Sequence[tuple[str, Array]], element: Element, *, scale: int = 1, caption: str = "") -> "Image":
    """Return a picture of labelled sequences, one a row; each (T, C, H, W)."""
    return labelled([[(name, strip(sequence, element)) for name, sequence in rows]], scale=scale, caption=caption)


def labelled(blocks: Sequence[Sequence[tuple[str, Pixels]]], *, scale: int = 1, caption: str = "") -> "Image":
    """Return blocks of labelled strips, one below the other, on white, labels at the left and a caption below."""
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(FONT_SIZE), ImageFont.load_default(CAPTION_SIZE)
    names = [name for block in blocks for name, _ in block]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    gutter = max(int(measure.multiline_textbbox((0, 0), name, font=font)[2]) for name in names) + 2 * MARGIN
    width = gutter + max(pixels.shape[1] for block in blocks for _, pixels in block) * scale + MARGIN
    height = sum(pixels.shape[0] * scale + GAP for block in blocks for _, pixels in block)
    height += MARGIN * (len(blocks) + 1)
    below = ""
    if caption:
        width = max(width, NARROWEST)
        below = "\n".join(wrapped(caption, width - 2 * MARGIN, lambda line: small.getlength(line)))
    tall_caption = int(measure.multiline_textbbox((0, 0), below, font=small)[3]) + MARGIN if below else 0
    picture = Image.new("RGB", (width, height + tall_caption), PAPER)
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
    draw.multiline_text((MARGIN, height), below, fill=INK, font=small)
    return picture


def wrapped(text: str, width: float, length: Callable[[str], float]) -> list[str]:
    """Return the lines of a text, none longer than `width` by `length` unless it is a single word."""
    lines: list[str] = []
    for word in text.split():
        if lines and length(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def tiles(sequences: Array, element: Element, *, scale: int = 1, columns: int | None = None) -> "list[Image]":
    """Return one picture for each step, with all sequences (P, T, C, H, W) as tiles: the frames of an animation."""
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
