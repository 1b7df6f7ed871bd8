"""What runs a graph: ONNX Runtime, TorchScript or the training model itself, behind one small protocol."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from sdkit.runtime.element import Array

GRAPHS = ("encoder", "static", "dynamic", "decoder", "prior")
"""The five graphs of every model, in the order of the data's way through them."""
STEP = "dynamic_step"
"""The sixth, of models that can run online: the codes of one element and the past."""


class Backend(Protocol):
    """Runs graphs on numpy arrays."""

    name: str
    """`onnx`, `torchscript` or `torch`."""
    device: str
    """Where graphs really run: `cpu` or `cuda:N`."""

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph; names and shapes are those of the contract."""


@runtime_checkable
class Divisible(Protocol):
    """A backend that gets through many batches sooner with several at a time than with all it has on each."""

    def divided(self) -> tuple[Backend, int]:
        """Return a backend to be called from several threads at once, and how many keep the device busy."""


def divided(backend: Backend) -> tuple[Backend, int]:
    """Return what many batches should run on, and how many of them at a time: one, unless the backend knows better."""
    return backend.divided() if isinstance(backend, Divisible) else (backend, 1)
