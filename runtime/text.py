"""Text from outside, made fit for a terminal or a log: names in files, manifests, tables, archives, libraries' errors.

Such text may hold escape sequences, which a terminal obeys, characters that turn the order of what follows, or a
million letters. Every error of ours and everything that the command line prints passes through here.
"""

import re

LONGEST = 1000
"""Number of characters of a line; more than any message that is not fed by a file."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters, separators of lines, marks of direction, and halves of surrogate pairs, which cannot be encoded.
"""
_UNSAFE_IN_TEXT = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_SPACES = re.compile(r"[ \t\n\r\x0b\x0c]+")


def one_line(text: str, longest: int = LONGEST) -> str:
    r"""Return text as one line: spaces joined, control characters written out, the middle of a long one left out.

    >>> one_line("a\x1b[31m\nb")
    'a\\x1b[31m b'
    """
    # Cut first: what is thrown away needs no work. Written out, a character is at most six.
    cut = shortened(text, 8 * longest) if len(text) > 8 * longest else text
    return shortened(_UNSAFE.sub(_written, _SPACES.sub(" ", cut).strip()), longest)


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return text, or its start and its end where it is longer: the end of a message says what to do."""
    if len(text) <= longest:
        return text
    head = longest * 2 // 3
    return f"{text[:head]} ... {text[len(text) - (longest - head - 5) :]}"


def visible(text: str) -> str:
    """Return text whose control characters, but for ends of lines, are written out."""
    return text if text.isascii() and text.isprintable() else _UNSAFE_IN_TEXT.sub(_written, text)


def _written(found: "re.Match[str]") -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
