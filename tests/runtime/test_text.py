"""Names out of files reach terminals and logs: none of them may steer a terminal, hide text or fill a screen."""

import unicodedata

import pytest

from sdkit.runtime.errors import DataError, MissingFileError, first_line
from sdkit.runtime.text import LONGEST, one_line, shortened, visible

ATTACKS = {
    "colour": ("a\x1b[31mb", "a\\x1b[31mb"),
    "title of the window": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "8-bit escape": ("\x9b2J", "\\x9b2J"),
    "nothing": ("in\x00.h5", "in\\x00.h5"),
    "delete": ("a\x7f", "a\\x7f"),
    "right to left": ("a\u202egpj.exe", "a\\u202egpj.exe"),
    "isolate": ("\u2066a", "\\u2066a"),
    "no UTF-8": ("caf\udce9.h5", "caf\\udce9.h5"),
    "separator of lines": ("a\u2028b", "a\\u2028b"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_control_characters_are_written_out(attack: str) -> None:
    given, shown = ATTACKS[attack]
    assert one_line(given) == visible(given) == shown
    assert str(DataError(f"{given} is no file")) == f"{shown} is no file"
    assert first_line(ValueError(given)) == shown
    shown.encode()  # a surrogate would end here


def test_every_control_character_goes() -> None:
    for number in range(0x3000):
        if unicodedata.category(chr(number)) == "Cc":
            assert one_line(f"a{chr(number)}b").isprintable(), hex(number)


@pytest.mark.parametrize("text", ["", "plain", "°C, Größe, 温度, 👩‍🔬", "a \u200d b"])
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert one_line(text) == visible(text) == text


def test_one_line_is_one_line_and_text_keeps_its_lines() -> None:
    assert one_line(" a\r\n\tb \n") == "a b"
    assert visible("a\nb\tc\r") == "a\nb\tc\\x0d"


@pytest.mark.parametrize(
    "text", ["x" * 10**6, "\x1b" * 10**6, "\n" * 10**6 + "x" * 10**6], ids=["long", "escapes", "lines"]
)
def test_long_text_is_cut_in_the_middle(text: str) -> None:
    error = str(MissingFileError(f"'{text}' is missing; make it again"))
    assert len(error) <= LONGEST
    assert error.startswith("'")
    assert error.endswith("is missing; make it again")
    assert " ... " in error


def test_text_that_fits_is_not_cut() -> None:
    assert shortened("x" * 20, 20) == "x" * 20
    assert len(shortened("x" * 21, 20)) == 20
