"""Parts as polygons, each of one material, and the share of each material in a pixel.

A picture is drawn as a map of materials at four times its size. The share of each material in a pixel is then an exact
integer, so colour is a product of shares and palette: edges are smooth between any two colours, and one drawing serves
every character that differs from it in colour only.
"""

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 64
"""Height and width of a frame."""

SCALE = 4
"""Factor by which the drawing is larger before it is averaged."""

SHARES = SCALE * SCALE
"""Sum of the shares of all materials in one pixel."""

Points = NDArray[np.float64]
Point = tuple[float, float]


class Material(IntEnum):
    """Material of a part; a palette gives each its colour."""

    BACKGROUND = 0
    FLOOR = 1
    SHOE = 2
    WHITE = 3
    INK = 4
    MOUTH = 5
    SKIN = 6
    SKIN_SHADE = 7
    HAT = 8
    HAT_SHADE = 9
    HAT_TRIM = 10
    SHIRT = 11
    SHIRT_SHADE = 12
    TROUSERS = 13
    TROUSERS_SHADE = 14


SHADES = {
    Material.SKIN: Material.SKIN_SHADE,
    Material.HAT: Material.HAT_SHADE,
    Material.SHIRT: Material.SHIRT_SHADE,
    Material.TROUSERS: Material.TROUSERS_SHADE,
}
"""Darker material of rims and of limbs on the far side, by material."""

RIM_WIDTH = 6
"""Width of a rim in the large drawing; half of it lies under the part itself."""


class Shape(NamedTuple):
    """Polygons of one material; `rim` draws their common outline in the material's shade."""

    material: Material
    polygons: tuple[Points, ...]
    rim: bool = True


def shares(shapes: list[Shape]) -> NDArray[np.uint8]:
    """Draw shapes, later ones over earlier ones, on the background.

    Returns:
        (materials, H, W): number of the SHARES parts of a pixel that show each material; they sum to SHARES.
    """
    large = np.arange(SIZE * SCALE) // SCALE
    pixel = large[:, None] * SIZE + large
    counts = np.bincount((pixel * len(Material) + _material_map(shapes)).ravel(), minlength=SIZE * SIZE * len(Material))
    return counts.reshape(SIZE, SIZE, len(Material)).transpose(2, 0, 1).astype(np.uint8)


def _material_map(shapes: list[Shape]) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    image = Image.new("L", (SIZE * SCALE, SIZE * SCALE), int(Material.BACKGROUND))
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        outlines = [[(float(x), float(y)) for x, y in polygon * SCALE] for polygon in shape.polygons]
        # All rims first, so that none runs across a joint.
        for outline in outlines if shape.rim and shape.material in SHADES else ():
            closed = [*outline, *outline[:2]]
            pen.line(closed, fill=int(SHADES[shape.material]), width=RIM_WIDTH, joint="curve")
        for outline in outlines:
            pen.polygon(outline, fill=int(shape.material))
    return np.asarray(image)


def blob(x: float, y: float, rx: float, ry: float, square: float = 2.0, taper: float = 0.0) -> Points:
    """Return a rounded shape (P, 2): an ellipse, or squarer with `square` > 2, wider below with `taper` > 0."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    across, down = (np.sign(f) * np.abs(f) ** (2 / square) for f in (np.cos(angle), np.sin(angle)))
    return np.stack([x + rx * across * (1 + taper * down), y + ry * down], axis=1)


def capsule(start: Point, end: Point, radius: float, end_radius: float | None = None) -> Points:
    """Return a line with round ends (P, 2)."""
    heading = math.atan2(end[1] - start[1], end[0] - start[0])
    half = np.linspace(-np.pi / 2, np.pi / 2, 14) + heading
    head = np.stack([np.cos(half), np.sin(half)], axis=1) * (radius if end_radius is None else end_radius)
    tail = -np.stack([np.cos(half), np.sin(half)], axis=1) * radius
    return np.concatenate([np.asarray(end) + head, np.asarray(start) + tail])


def joint(start: Point, end: Point, length: float, bend: float) -> Point:
    """Return where a limb of two equal bones (`length` in all) bends; `bend` is the side, and 0 keeps it straight."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    distance = max(1e-6, math.hypot(dx, dy))
    out = bend * math.sqrt(max(0.0, length**2 - distance**2)) / 2
    return (start[0] + dx / 2 - dy / distance * out, start[1] + dy / 2 + dx / distance * out)


def turned(points: Points, degrees: float, by: Point = (0.0, 0.0)) -> Points:
    """Return points (P, 2) turned about the origin (clockwise as seen), then shifted."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved: Points = points @ np.array([[c, s], [-s, c]]) + np.asarray(by)
    return moved
