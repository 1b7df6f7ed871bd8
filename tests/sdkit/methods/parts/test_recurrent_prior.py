import pytest
import torch

from sdkit.methods.graphs import RecurrentPriorGraph
from sdkit.methods.parts.recurrent_prior import RecurrentPrior


def prior(layers: int = 2) -> RecurrentPrior:
    torch.manual_seed(0)
    return RecurrentPrior(4, 7, layers)


def test_prior_reads_zero_first_and_then_earlier_codes_only() -> None:
    found_by = prior()
    d = torch.randn(3, 4, 4)
    found = found_by(d)
    hidden, _ = found_by.lstm(torch.cat([torch.zeros(3, 1, 4), d[:, :3]], 1))
    torch.testing.assert_close(found.mean, found_by.head.mean(hidden))
    torch.testing.assert_close(found.log_variance, found_by.head.log_variance(hidden))
    later = d.clone()
    later[:, 2:] += 1
    torch.testing.assert_close(found_by(later).mean[:, :3], found.mean[:, :3], rtol=0, atol=0)
    assert (found_by(later).mean[:, 3] - found.mean[:, 3]).abs().max() > 1e-4


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_and_widths(layers: int) -> None:
    lstm = prior(layers).lstm
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers) == (4, 7, layers)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("steps", [2, 9])
def test_what_the_graph_draws_has_the_means_that_the_prior_gives_of_it(layers: int, steps: int) -> None:
    model = prior(layers)
    noise = torch.randn(3, steps, 4, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        sampled, means = RecurrentPriorGraph(model)(noise)
        forced = model(sampled)
    torch.testing.assert_close(means, forced.mean)
    torch.testing.assert_close(sampled, forced.mean + forced.std * noise)


def test_the_graph_compiles_and_keeps_its_loop() -> None:
    graph = RecurrentPriorGraph(prior()).eval()
    assert graph.compiled
    script = torch.jit.script(graph)
    for steps in (2, 5):
        noise = torch.randn(2, steps, 4)
        with torch.no_grad():
            for found, expected in zip(script(noise), graph(noise), strict=True):
                torch.testing.assert_close(found, expected)
