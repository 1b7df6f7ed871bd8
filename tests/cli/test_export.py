"""What `sdkit export` proposes to go on with is a verb that the model has."""

import pytest

from sdkit.cli.export import _next
from sdkit.methods.base import Method
from tests.tiny import tiny_model


@pytest.mark.parametrize(
    ("method", "command"),
    [("dbse", "sdkit swap a.h5 b.h5"), ("gpvae", "sdkit reconstruct x.h5"), ("mocogan", "sdkit generate")],
)
def test_the_next_command_is_one_that_the_model_has(method: str, command: str) -> None:
    model: Method = tiny_model(method=method)
    assert _next(model.abilities.verbs) == command


def test_a_model_without_these_verbs_is_looked_at() -> None:
    assert _next(("encode", "decode")) == "sdkit info"
