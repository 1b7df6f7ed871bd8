from typing import Any

import pytest
import torch
from torch import Tensor

from sdkit.methods.dbse.graphs import PriorGraph
from sdkit.methods.dbse.paths import DynamicPath, StaticPath, all_steps, free_steps
from sdkit.methods.dbse.settings import DbseSettings
from sdkit.methods.parts.gaussian import Gaussian
from tests.sdkit.methods.dbse.tiny import tiny_dbse, tiny_settings

FEATURES = 7
ANCHORS = {"first": 0, "middle": 2, "last": 4}
"""Positions among five steps."""


def path_of(settings: DbseSettings, seed: int = 0) -> DynamicPath:
    torch.manual_seed(seed)
    return DynamicPath(settings, FEATURES)


def inputs(steps: int = 5, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return features (3, T, G) and a static hidden vector (3, H)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, steps, FEATURES, generator=generator), torch.randn(3, 6, generator=generator)


def heads(path: DynamicPath, hidden: Tensor) -> Gaussian:
    """Return what the path's two linear layers give."""
    return Gaussian(path.head.mean(hidden), path.head.log_variance(hidden))


def without(x: Tensor, position: int) -> Tensor:
    return x[:, [t for t in range(x.shape[1]) if t != position]]


@pytest.mark.parametrize(("anchor", "position"), ANCHORS.items())
def test_free_steps_leave_the_zero_anchor_out(anchor: str, position: int) -> None:
    settings = tiny_settings(anchor=anchor)
    x, _ = inputs()
    free = free_steps(settings, x)
    torch.testing.assert_close(free, without(x, position), rtol=0, atol=0)
    whole = all_steps(settings, free)
    assert (whole[:, position] == 0).all()
    torch.testing.assert_close(without(whole, position), without(x, position), rtol=0, atol=0)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_every_step_is_free_where_the_anchor_is_inferred(anchor: str) -> None:
    settings = tiny_settings(anchor=anchor, anchor_dynamic="inferred")
    x, _ = inputs()
    assert free_steps(settings, x) is x
    assert all_steps(settings, x) is x


@pytest.mark.parametrize("anchor", ANCHORS)
def test_two_steps_are_enough(anchor: str) -> None:
    settings = tiny_settings(anchor=anchor)
    x, hidden = inputs(steps=2)
    assert free_steps(settings, x).shape == (3, 1, FEATURES)
    assert path_of(settings)(x, hidden).mean.shape == (3, 1, 4)
    assert all_steps(settings, path_of(settings)(x, hidden).mean).shape == (3, 2, 4)


@pytest.mark.parametrize(("anchor", "position"), ANCHORS.items())
def test_static_path_reads_the_anchor_alone(anchor: str, position: int) -> None:
    torch.manual_seed(0)
    path = StaticPath(tiny_settings(anchor=anchor), FEATURES)
    x, _ = inputs()
    hidden, static = path(x)
    expected = torch.tanh(x[:, position] @ path.hidden.weight.T + path.hidden.bias)
    torch.testing.assert_close(hidden, expected)
    torch.testing.assert_close(static.mean, path.head.mean(expected))
    torch.testing.assert_close(static.log_variance, path.head.log_variance(expected))


@pytest.mark.parametrize(("anchor", "position"), ANCHORS.items())
def test_equation_8(anchor: str, position: int) -> None:
    path = path_of(tiny_settings(anchor=anchor))
    x, static_hidden = inputs()
    # The recurrence runs on the LSTM's own state, step by step: what is subtracted from its output is never fed back.
    state = (torch.zeros(1, 3, 6), torch.zeros(1, 3, 6))
    outputs = []
    for t in range(5):
        if t != position:
            output, state = path.lstm(x[:, t : t + 1], state)
            outputs.append(output[:, 0])
    less = torch.stack([h - static_hidden for h in outputs], 1)
    found = path(x, static_hidden)
    torch.testing.assert_close(found.mean, heads(path, less).mean)
    torch.testing.assert_close(found.log_variance, heads(path, less).log_variance)


def test_without_subtraction_the_static_vector_is_not_read() -> None:
    path = path_of(tiny_settings(subtract="none"))
    x, static_hidden = inputs()
    expected = heads(path, path.lstm(x[:, 1:])[0])
    torch.testing.assert_close(path(x, static_hidden).mean, expected.mean)
    torch.testing.assert_close(path(x, static_hidden + 1).log_variance, expected.log_variance)


@pytest.mark.parametrize(("anchor", "position"), ANCHORS.items())
def test_subtraction_of_features_happens_before_the_lstm(anchor: str, position: int) -> None:
    path = path_of(tiny_settings(subtract="features", anchor=anchor))
    x, static_hidden = inputs()
    read = without(x, position) - x[:, position : position + 1]
    expected = heads(path, path.lstm(read)[0])
    torch.testing.assert_close(path(x, static_hidden).mean, expected.mean)
    torch.testing.assert_close(path(x, static_hidden + 1).mean, expected.mean)


@pytest.mark.parametrize("subtract", ["hidden", "features"])
def test_subtracting_nothing_is_no_subtraction(subtract: str) -> None:
    x, _ = inputs()
    x[:, 0] = 0
    zero = torch.zeros(3, 6)
    found = path_of(tiny_settings(subtract=subtract))(x, zero)
    torch.testing.assert_close(found.mean, path_of(tiny_settings(subtract="none"))(x, zero).mean)


@pytest.mark.parametrize(("anchor", "position"), ANCHORS.items())
def test_an_inferred_anchor_is_read_in_its_place(anchor: str, position: int) -> None:
    path = path_of(tiny_settings(subtract="features", anchor_dynamic="inferred", anchor=anchor))
    x, static_hidden = inputs()
    read = x - x[:, position : position + 1]
    assert (read[:, position] == 0).all()
    torch.testing.assert_close(path(x, static_hidden).mean, heads(path, path.lstm(read)[0]).mean)
    hidden = path_of(tiny_settings(anchor_dynamic="inferred", anchor=anchor))
    expected = heads(hidden, hidden.lstm(x)[0] - static_hidden[:, None])
    torch.testing.assert_close(hidden(x, static_hidden).mean, expected.mean)


def test_the_static_vector_leaves_both_directions() -> None:
    path = path_of(tiny_settings(bidirectional=True))
    x, static_hidden = inputs()
    output, _ = path.lstm(x[:, 1:])
    forward, backward = output.split(6, dim=-1)
    less = torch.cat([forward - static_hidden[:, None], backward - static_hidden[:, None]], -1)
    torch.testing.assert_close(path(x, static_hidden).mean, heads(path, less).mean)


@pytest.mark.parametrize(
    ("change", "directions", "layers", "width"),
    [({}, 1, 1, 6), ({"layers": 3}, 1, 3, 6), ({"bidirectional": True, "layers": 2}, 2, 2, 12)],
)
def test_layers_and_directions(change: dict[str, Any], directions: int, layers: int, width: int) -> None:
    path = path_of(tiny_settings(**change))
    assert (path.lstm.num_layers, path.lstm.bidirectional, path.directions) == (layers, directions == 2, directions)
    assert (path.lstm.input_size, path.lstm.hidden_size) == (FEATURES, 6)
    assert path.head.mean.in_features == path.head.log_variance.in_features == width


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("anchor_dynamic", ["zero", "inferred"])
def test_teacher_forced_prior_equals_the_rollout(anchor: str, anchor_dynamic: str) -> None:
    model = tiny_dbse(anchor=anchor, anchor_dynamic=anchor_dynamic)
    settings = model.settings
    noise = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        sampled, means = PriorGraph(model)(noise)
        forced = model.prior(free_steps(settings, sampled))
    torch.testing.assert_close(free_steps(settings, means), forced.mean)
    torch.testing.assert_close(free_steps(settings, sampled), forced.mean + forced.std * free_steps(settings, noise))
    if anchor_dynamic == "zero":
        assert (sampled[:, ANCHORS[anchor]] == 0).all()
        assert (means[:, ANCHORS[anchor]] == 0).all()
    else:
        assert (sampled[:, ANCHORS[anchor]] != 0).all()
