"""Appearance of the puppets: trunk, limbs, face and six hats, arranged as a pose says.

Lengths are pixels of the 64x64 frame, y down. In the side view a puppet looks to the right of the picture.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sdkit.data.puppet_poses import STEPS, Limb, Pose, pose
from sdkit.data.puppet_shapes import SHADES, Material, Point, Points, Shape, blob, capsule, joint, shares, turned

M = Material
HATS = ("crown", "top hat", "bobble hat", "party hat", "bunny ears", "sprout")
FLOOR_Y, MIDDLE = 61.0, 32.0


def motion_shares(hat: int, action: int, side: bool) -> NDArray[np.uint8]:
    """Draw one motion of a puppet with this hat.

    Args:
        hat: an index of HATS.
        action: an index of ACTIONS.
        side: whether it is seen from the side, looking to the right of the picture, instead of from the front.

    Returns:
        (materials, T, H, W): how many of the SHARES parts of a pixel show each material.
    """
    return np.stack([shares(_puppet(hat, pose(action, side, step), side)) for step in range(STEPS)], axis=1)


def _puppet(hat: int, at: Pose, side: bool) -> list[Shape]:
    """Return the parts of a puppet in the order in which they cover each other."""
    hips = (MIDDLE + at.sway, 48.4 - at.lift + at.crouch)
    neck = (hips[0] + (0.6 if side else 0.3 * at.sway), hips[1] - 11.4)
    head = [*_head(side, at.open_mouth), *_hat(hat, at.flop, -6.0 if side else 0.0)]
    face = [
        _moved(shape, at.tilt, (neck[0] + (at.tilt * 0.16 + 0.6 if side else 0.0), neck[1] - 8.5)) for shape in head
    ]
    arms = [_arm(neck, at.hands[i], i, side) for i in (0, 1)]
    legs = [_leg(hips, at.feet[i], i, side) for i in (0, 1)]
    trunk = _trunk(hips, side)
    # From back to front.
    if side:
        body = [*_far(arms[0]), *_far(legs[0]), *legs[1], *trunk, *face, *arms[1]]
    else:
        body = [*legs[0], *legs[1], *trunk, *arms[0], *arms[1], *face]
    floor = blob(MIDDLE, FLOOR_Y - 0.4, 14.0 - 0.7 * at.lift, 2.2 - 0.1 * at.lift)
    return [Shape(M.FLOOR, (floor,)), *(_stretched(shape, at) for shape in body)]


def _moved(shape: Shape, degrees: float, by: Point) -> Shape:
    return shape._replace(polygons=tuple(turned(points, degrees, by) for points in shape.polygons))


def _stretched(shape: Shape, at: Pose) -> Shape:
    origin, factor = np.array([MIDDLE, FLOOR_Y - at.lift]), np.array([1 - at.stretch, 1 + at.stretch])
    return shape._replace(polygons=tuple((points - origin) * factor + origin for points in shape.polygons))


def _far(shapes: list[Shape]) -> list[Shape]:
    """Return a limb on the far side of the body, all in shade."""
    return [shape._replace(material=SHADES.get(shape.material, shape.material), rim=False) for shape in shapes]


def _arm(neck: Point, hand: Limb, which: int, side: bool) -> list[Shape]:
    outwards = 1.0 if side or which else -1.0
    angle = math.radians(hand.first)
    forward = 2.4 * max(0.0, math.sin(angle)) if side else 5.8 * outwards
    shoulder = (neck[0] + forward, neck[1] + 3.2)
    palm = (shoulder[0] + outwards * hand.second * math.sin(angle), shoulder[1] + hand.second * math.cos(angle))
    # A hanging elbow points away from the body, a raised one hangs below the line of the arm.
    elbow = joint(shoulder, palm, 12.6, 1.0 if side else -outwards * math.cos(angle))
    return [
        Shape(M.SHIRT, (capsule(shoulder, elbow, 2.4), capsule(elbow, palm, 2.4, 2.1))),
        Shape(M.SKIN, (blob(*palm, 2.7, 2.7),)),
    ]


def _leg(hips: Point, foot: Limb, which: int, side: bool) -> list[Shape]:
    outwards = 1.0 if side or which else -1.0
    hip = (hips[0] + (0.0 if side else 3.4 * outwards), hips[1] + 1.0)
    apart = 0.0 if side else 3.8
    ankle = (MIDDLE + outwards * (apart + foot.first), FLOOR_Y - 2.4 - foot.second)
    thick = 3.6 if side else 3.0
    knee = joint(hip, ankle, 10.4, -1.0 if side else 0.0)
    shoe = blob(ankle[0] + (1.1 if side else 0.4 * outwards), ankle[1] + 0.9, 3.7 if side else 3.3, 1.6, 2.4)
    trousers = Shape(M.TROUSERS, (capsule(hip, knee, thick, thick), capsule(knee, ankle, thick, 2.7)))
    return [trousers, Shape(M.SHOE, (shoe,))]


def _trunk(hips: Point, side: bool) -> list[Shape]:
    wide = 5.2 if side else 6.4
    pelvis = Shape(M.TROUSERS, (blob(hips[0], hips[1] + 0.4, wide - 0.2, 3.6, 2.8),))
    shirt = Shape(M.SHIRT, (blob(hips[0] + (0.2 if side else 0.0), hips[1] - 6.0, wide, 5.5, 3.0, 0.05),))
    buttons = [] if side else [blob(hips[0], hips[1] - y, 0.8, 0.8) for y in (7.0, 3.6)]
    return [pelvis, shirt, Shape(M.SHIRT_SHADE, tuple(buttons))]


def _head(side: bool, open_mouth: bool) -> list[Shape]:
    """Return head and face about the middle of the head; in the side view both eyes still show."""
    eyes = ((3.2, 2.3), (8.2, 1.7)) if side else ((-3.9, 2.3), (3.9, 2.3))
    look, mouth = (0.7, 6.2) if side else (0.0, 0.0)
    ears = Shape(M.SKIN, tuple(blob(x, 1.0, 1.6 if side else 2.0, 2.2) for x in ((-4.2,) if side else (-10.0, 10.0))))
    nose = [blob(10.2, 2.2, 1.9, 1.6)] if side else []
    skull = Shape(M.SKIN, (blob(0.0, 0.0, 10.2, 9.2, 2.3, 0.05), *nose))
    face = [
        Shape(M.SKIN_SHADE, tuple(blob(x, 4.0, 1.7, 1.2) for x in ((0.6,) if side else (-6.8, 6.8)))),
        Shape(M.WHITE, tuple(blob(x, -0.6, width, 2.9) for x, width in eyes)),
        Shape(M.INK, tuple(blob(x + look, -0.2, 1.2, 1.7) for x, _ in eyes)),
        Shape(M.MOUTH, (blob(mouth, 5.2, 2.2, 2.2) if open_mouth else _smile(mouth),)),
    ]
    return [*((skull, ears) if side else (ears, skull)), *face]


def _smile(x: float) -> Points:
    angle = np.linspace(0.15 * np.pi, 0.85 * np.pi, 12)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline: Points = np.concatenate([arc * (3.0, 3.0), arc[::-1] * (3.0, 1.2)]) + np.asarray((x, 3.4))
    return outline


def _hat(hat: int, flop: float, lean: float) -> list[Shape]:
    """Return a hat about the middle of the head; `flop` moves its loose tips, `lean` turns it back on a turned head."""
    shapes = (_crown, _top_hat, _bobble_hat, _party_hat, _bunny_ears, _sprout)[hat](flop)
    return [_moved(shape, lean, (0.0, 0.0)) for shape in shapes]


def _polygon(*corners: Point) -> Points:
    return np.asarray(corners, np.float64)


def _crown(flop: float) -> list[Shape]:
    tips = [(-8.6, -17.0), (-4.0, -12.0), (0.0, -18.5), (4.0, -12.0), (8.6, -17.0)]
    gold = _polygon((-7.6, -6.4), *tips, (7.6, -6.4))
    jewels = tuple(blob(x, y, 1.3, 1.3) for x, y in tips[::2])
    return [Shape(M.HAT, (gold,)), Shape(M.HAT_TRIM, (*jewels, blob(0.0, -9.4, 1.7, 1.4)))]


def _top_hat(flop: float) -> list[Shape]:
    tall = _polygon((-6.0, -8.0), (-7.0, -18.0), (7.0, -18.0), (6.0, -8.0))
    band = _polygon((-6.1, -9.0), (-6.4, -12.4), (6.4, -12.4), (6.1, -9.0))
    return [Shape(M.HAT, (tall,)), Shape(M.HAT_TRIM, (band,)), Shape(M.HAT, (blob(0.0, -7.8, 11.0, 1.7),))]


def _bobble_hat(flop: float) -> list[Shape]:
    angle = np.linspace(np.pi, 2 * np.pi, 24)
    dome = np.stack([9.8 * np.cos(angle), -5.0 + 9.6 * np.sin(angle)], axis=1)
    bobble = blob(flop, -16.6, 3.2, 3.0)
    return [Shape(M.HAT, (dome,)), Shape(M.HAT_TRIM, (bobble, blob(0.0, -5.4, 10.8, 2.1, 2.6)))]


def _party_hat(flop: float) -> list[Shape]:
    tip = (flop, -17.6)
    cone = _polygon((-7.8, -6.4), tip, (7.8, -6.4))
    edges = [
        (side * 7.8 * (1 - up) + up * tip[0], -6.4 + up * (tip[1] + 6.4)) for side in (-1, 1) for up in (0.24, 0.46)
    ]
    stripe = _polygon(edges[0], edges[1], edges[3], edges[2])
    return [Shape(M.HAT, (cone,)), Shape(M.HAT_TRIM, (stripe, blob(*tip, 2.0, 2.0)))]


def _bunny_ears(flop: float) -> list[Shape]:
    tips = [(x * 6.6 + flop, -16.0) for x in (-1.0, 1.0)]
    roots = [(x * 3.8, -7.4) for x in (-1.0, 1.0)]
    pairs = list(zip(roots, tips, strict=True))
    outer = tuple(capsule(root, tip, 2.6, 3.0) for root, tip in pairs)
    return [Shape(M.HAT, outer), Shape(M.HAT_TRIM, tuple(capsule(root, tip, 1.1, 1.5) for root, tip in pairs))]


def _sprout(flop: float) -> list[Shape]:
    stem = Shape(M.HAT_SHADE, (capsule((0.0, -8.6), (flop / 2, -13.0), 1.1),))
    leaves = tuple(turned(blob(0.0, 0.0, 5.6, 3.0, 1.7), x * -24.0, (flop / 2 + x * 5.4, -15.4)) for x in (-1.0, 1.0))
    veins = tuple(capsule((flop / 2 + x * 1.4, -13.8), (flop / 2 + x * 8.0, -16.6), 0.5) for x in (-1.0, 1.0))
    return [stem, Shape(M.HAT, leaves), Shape(M.HAT_TRIM, veins)]
