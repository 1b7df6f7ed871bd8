"""Motions of the puppets: one pose for every action, view and step, as an animator's key frames.

Lengths are pixels of the 64x64 frame. Angles are degrees from hanging down; they open away from the body in the front
view and towards where the puppet looks in the side view.
"""

import math
from dataclasses import dataclass

STEPS = 8
"""Number T of steps of every motion; the step after the last one is the first again."""

ACTIONS = ("walk", "wave", "jump")

# Key frames. The first step of each action is close to standing still, so that one frame does not reveal the action.
_WAVE_ANGLE = (24.0, 84.0, 124.0, 150.0, 128.0, 102.0, 128.0, 76.0)
_WAVE_RAISED = (0.0, 0.6, 1.0, 1.0, 1.0, 1.0, 1.0, 0.6)
_JUMP_LIFT = (0.0, 0.0, 3.0, 6.0, 7.0, 5.8, 2.4, 0.0)
_JUMP_CROUCH = (0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.4, 2.6)
_JUMP_STRETCH = (0.0, -0.03, 0.05, 0.02, 0.0, 0.01, 0.03, -0.03)
_JUMP_ARMS = (0.0, -0.35, 0.55, 0.9, 1.0, 0.9, 0.55, 0.0)
_JUMP_TUCK = (0.0, 0.0, 0.0, 1.0, 2.2, 1.4, 0.2, 0.0)


@dataclass(frozen=True)
class Limb:
    """Position of a hand or a foot: an angle and a reach for a hand, an offset and a height for a foot."""

    first: float
    second: float


@dataclass(frozen=True)
class Pose:
    """One step of a motion. The first of each pair is the far limb, or in the front view that on the picture's left."""

    hands: tuple[Limb, Limb]
    """Angle and reach of each hand, from the shoulder."""
    feet: tuple[Limb, Limb]
    """Offset outwards or forwards of each foot, and its height above the floor."""
    lift: float = 0.0
    """Height of the whole body above the floor."""
    crouch: float = 0.0
    """Distance by which the hips sink towards the feet."""
    stretch: float = 0.0
    """Relative stretch upwards; width shrinks likewise."""
    sway: float = 0.0
    """Shift of hips, trunk and head."""
    tilt: float = 0.0
    """Angle of the head."""
    flop: float = 0.0
    """Sideways direction of loose tips of hats, which trail behind the motion."""
    open_mouth: bool = False


def pose(action: int, side: bool, step: int) -> Pose:
    """Return the pose of an action (an index of ACTIONS) at a step 0..7, seen from the side or from the front."""
    return (_walk, _wave, _jump)[action](side, step)


def _walk(side: bool, step: int) -> Pose:
    # A quarter of a turn ahead, so that in the first step the feet pass each other under the body.
    turn = 2 * math.pi * (step + STEPS / 4) / STEPS
    swing, raised = math.cos(turn), math.sin(turn)
    lift = 0.9 * abs(raised) - 0.9  # the body is highest while the feet pass, and comes down as they part
    if side:
        return Pose(
            hands=(Limb(40 * swing - 6, 11.0), Limb(-40 * swing - 6, 11.0)),
            feet=(Limb(-6.0 * swing, 3.2 * max(0.0, raised)), Limb(6.0 * swing, 3.2 * max(0.0, -raised))),
            crouch=-lift,
            tilt=2.5 * swing,
            flop=1.2 * math.sin(2 * turn),
        )
    # Seen from the front, an arm that swings away looks shorter, and the foot on its way forwards is off the floor.
    return Pose(
        hands=(Limb(24 + 9 * swing, 10.2 + 1.8 * swing), Limb(24 - 9 * swing, 10.2 - 1.8 * swing)),
        feet=(Limb(0.0, 4.2 * max(0.0, swing)), Limb(0.0, 4.2 * max(0.0, -swing))),
        crouch=0.8 * abs(swing),
        sway=1.5 * swing,
        tilt=5.0 * swing,
        flop=-1.2 * swing,
    )


def _wave(side: bool, step: int) -> Pose:
    raised = _WAVE_RAISED[step]
    angle = _WAVE_ANGLE[step] * (0.78 if side else 1.0)  # from the side, a hand held higher would hide the face
    flutter = math.sin(4 * math.pi * step / STEPS) * raised
    return Pose(
        hands=(Limb(-8.0 if side else 24.0, 11.0), Limb(angle, 11.0 + (3.4 if side else 1.6) * raised)),
        feet=(Limb(-1.6 if side else 0.0, 0.0), Limb(1.6 if side else 0.0, 0.0)),
        sway=(0.0 if side else -0.9) * raised,
        tilt=(-6.0 if side else -7.0) * raised,
        flop=0.8 * flutter,
        open_mouth=raised >= 1.0,
    )


def _jump(side: bool, step: int) -> Pose:
    lift, tuck, arms = _JUMP_LIFT[step], _JUMP_TUCK[step], _JUMP_ARMS[step]
    angle = (108.0 * arms - 12.0) if side else (24.0 + 112.0 * max(0.0, arms))
    rising = _JUMP_LIFT[(step + 1) % STEPS] - _JUMP_LIFT[step - 1]
    spread = 0.9 * tuck
    reach = 11.0 + (2.8 if side else 1.0) * max(0.0, arms)
    return Pose(
        hands=(Limb(angle + (12.0 if side else 0.0), reach), Limb(angle, reach)),
        feet=(Limb(-spread if side else spread, lift + tuck), Limb(spread, lift + tuck * (1.3 if side else 1.0))),
        lift=lift,
        crouch=_JUMP_CROUCH[step],
        stretch=_JUMP_STRETCH[step],
        flop=-0.25 * rising,
        open_mouth=lift > 3.0,
    )
