"""Copies of modules: what they hold, and that nothing but `take` changes them."""

import pytest
import torch
from torch import Tensor, nn

from sdkit.methods.parts.snapshot import Snapshot


class Recurrent(nn.Module):
    """A recurrent layer between two others."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.gru, self.head = nn.BatchNorm1d(3), nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.gru(self.norm(x.transpose(1, 2)).transpose(1, 2))
        return self.head(hidden)  # type: ignore[no-any-return]


@pytest.fixture
def module() -> Recurrent:
    torch.manual_seed(0)
    return Recurrent()


X = torch.linspace(-2, 2, 30).reshape(2, 5, 3)


def changed(module: nn.Module) -> None:
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn_like(value))


def test_copies_have_the_weights_of_the_last_time_that_they_were_taken(module: Recurrent) -> None:
    snapshot = Snapshot(module)
    module.eval()
    assert not snapshot.taken
    first = module(X)
    torch.testing.assert_close(snapshot.copies[0](X), first)
    changed(module)
    second = module(X)
    assert (second - first).abs().max() > 0.1
    torch.testing.assert_close(snapshot.copies[0](X), first)
    snapshot.take(module)
    assert snapshot.taken
    torch.testing.assert_close(snapshot.copies[0](X), second)


def test_weights_are_buffers_that_a_state_holds(module: Recurrent) -> None:
    snapshot = Snapshot(module)
    assert not list(snapshot.parameters())
    snapshot.take(module)
    other = Snapshot(Recurrent())
    other.load_state_dict(snapshot.state_dict())
    assert other.taken
    torch.testing.assert_close(other.copies[0](X), snapshot.copies[0](X))
    # A change of type, as of device, renews what a recurrent layer keeps of its weights.
    torch.testing.assert_close(other.double().copies[0](X.double()).float(), snapshot.copies[0](X))


def test_copies_learn_no_statistics_in_training(module: Recurrent) -> None:
    snapshot = Snapshot(module).train()
    before = snapshot.copies[0](X)
    for _ in range(3):
        snapshot.copies[0](X + 5)
    torch.testing.assert_close(snapshot.copies[0](X), before)
