"""One style for every figure: colours that colour-blind readers can distinguish, captions, and how files are saved.

Figures are matplotlib's `Figure`, made without pyplot, so that nothing is global and no window is opened.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sdkit.runtime.element import Element
from sdkit.runtime.extras import need
from sdkit.runtime.storage.output import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Okabe and Ito's colours. Their yellow is left out: it is illegible on white.
BLUE, VERMILION, GREEN, PURPLE, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, AMBER, SKY)
MARKERS = ("o", "^")
MOST_CLASSES = len(PALETTE) * len(MARKERS)
"""Largest number of classes with marks; more are coloured by number, along `ORDERED`."""
ORDERED = "viridis"
INTENSITY, SHARE = "cividis", "Blues"
"""Colour maps of levels and of percentages. All three of these maps grow steadily in lightness."""
PAPER, INK, FAINT = "#ffffff", "#282828", "#d9d9d9"

DPI = 110
TEXT_SIZE, SMALL_SIZE = 10.0, 8.0
LINE = 1.45 * SMALL_SIZE / 72
"""Height in inches of a line of the caption."""


class Mark(NamedTuple):
    """Colour and marker of a class."""

    colour: str
    marker: str


def marks(count: int) -> list[Mark]:
    """Return one mark for each of at most MOST_CLASSES classes: all colours with one marker, then with the next."""
    return [Mark(PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE)]) for i in range(count)]


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, in inches; its parts are laid out so that no text overlaps another.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need("train", "matplotlib", what="a figure")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=PAPER)


def caption(figure: "Figure", *sentences: str) -> "Figure":
    """Write the sentences that are not empty below everything else, and make the figure taller by as much."""
    width = int(figure.get_figwidth() * 72 / (0.54 * SMALL_SIZE))
    lines = textwrap.wrap(" ".join(filter(None, sentences)), width)
    figure.set_figheight(figure.get_figheight() + (len(lines) + 0.5) * LINE)
    figure.supxlabel(plain("\n".join(lines)), x=0.01, ha="left", fontsize=SMALL_SIZE, color=INK)
    return figure


def tidy(axes: "Axes") -> None:
    """Give axes small tick labels and no frame above and at the right."""
    axes.tick_params(labelsize=SMALL_SIZE, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def plain(text: str) -> str:
    """Return text that matplotlib shows unchanged: `$` opens no formula."""
    return text.replace("$", r"\$")


def feature_name(element: Element, index: int) -> str:
    """Return the name of a feature, or its number where the element names none."""
    names = element.feature_names
    return names[index] if len(names) == element.shape[-1] else f"feature {index}"


def unit(element: Element, index: int = 0) -> str:
    """Return the unit of a feature, or an empty text."""
    units = element.units
    if len(units) == 1:
        return units[0]
    return units[index] if len(units) == element.shape[-1] else ""


def counted(count: int, what: str, drawn: int) -> str:
    """Return text such as `10 features`, or `the first 6 of 20 sequences` where not all are drawn."""
    if drawn < count:
        return f"the first {drawn} of {count} {what}s"
    return f"{count} {what}{'' if count == 1 else 's'}"


def raster(figure: "Figure") -> "Image":
    """Return a figure as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def save(
    picture: "Figure | Image | Sequence[Image]", path: str | Path, *, rate: float = 8.0, force: bool = True
) -> Path:
    """Write a figure or picture as a PNG, or several as a GIF that repeats, completely or not at all.

    Args:
        picture: a picture, or the frames of an animation.
        path: path of the file, ending in .png for one picture, .gif for an animation.
        rate: number of frames a second.
        force: replace an existing file.

    Raises:
        OutputExistsError, MissingFileError: as `replacing`.
    """
    from PIL.Image import Image

    path = Path(path)
    with replacing(path, force=force) as temporary:
        stream = io.BytesIO()  # of a disk that is full Pillow says nothing that tells why
        if isinstance(picture, Sequence):
            first, *others = picture
            first.save(stream, "GIF", save_all=True, append_images=others, duration=round(1000 / rate), loop=0)
        elif isinstance(picture, Image):
            picture.save(stream, "PNG", optimize=True)
        else:
            # Pillow's search for the smallest file would take as long as drawing the figure, and gain little on it.
            raster(picture).save(stream, "PNG")
        temporary.write_bytes(stream.getbuffer())
    return path
