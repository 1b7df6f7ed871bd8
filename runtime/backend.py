"""What runs a graph: ONNX Runtime, TorchScript or the training model itself, behind one small protocol."""

from collections.abc import Mapping
from typing import Protocol

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
