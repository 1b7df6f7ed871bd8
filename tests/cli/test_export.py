"""What `sdkit export` proposes to go on with is a verb that the model has."""

from pathlib import Path

import pytest

from sdkit.cli.export import _next
from sdkit.methods.base import Method
from tests.tiny import tiny_model


@pytest.mark.parametrize(
    ("method", "command"),
    [("dbse", "sdkit generate -b 'my bundle'"), ("mocogan", "sdkit generate -b 'my bundle'")],
)
def test_the_next_command_is_one_that_the_model_has(method: str, command: str) -> None:
    model: Method = tiny_model(method=method)
    assert _next(model.abilities.verbs, Path("my bundle")) == command


def test_a_model_that_cannot_generate_is_looked_at() -> None:
    assert _next(("encode", "decode"), Path("bundle")) == "sdkit info bundle"
