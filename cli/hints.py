"""Next commands that the command line suggests; each is a command that runs as it stands."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdkit.runtime.element import Element


def command(words: Iterable[object]) -> str:
    """Return a command line of sdkit, quoted for a shell."""
    return shlex.join(["sdkit", *map(str, words)])


def wrote(path: Path, element: "Element", *, moving: bool = False) -> str:
    """Return that a sequence file was written, and how to look at it where its elements can be drawn.

    Args:
        path: the file.
        element: element of its sequences.
        moving: whether an animation shows more than a picture, of elements that have one.
    """
    if not element.drawable:
        return f"wrote {path}"
    picture = path.with_suffix(".gif" if moving and element.traits.pictorial else ".png")
    words = ["render", path, "-o", picture, *(["--force"] if picture.exists() else [])]
    return f"wrote {path}; look: {command(words)}"
