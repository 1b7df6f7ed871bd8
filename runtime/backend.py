"""What runs a graph: ONNX Runtime, TorchScript or the training model itself, behind one small protocol."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from sdkit.runtime.element import Array

GRAPHS = ("encoder", "static", "dynamic", "decoder", "prior")
"""The five graphs of every model, in the order of the data's way through them."""
INPUTS = {
    "encoder": ("x",),
    "static": ("features",),
    "dynamic": ("features", "static_hidden"),
    "decoder": ("static", "dynamic"),
    "prior": ("noise",),
}
"""Names of what each of them takes; what one gives has the name under which another takes it."""
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


@runtime_checkable
class Chaining(Protocol):
    """A backend that can leave on its device what one graph hands to the next."""

    def run_chain(self, graphs: Sequence[str], inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run graphs one after the other, as `chain` does."""


def chain(
    backend: Backend, graphs: Sequence[str], inputs: Mapping[str, Array], outputs: Sequence[str]
) -> dict[str, Array]:
    """Run graphs one after the other, each on what is given and on what those before it gave, by name.

    On a device with a memory of its own only `inputs` go there, and only `outputs` come back, if the backend can.

    Args:
        backend: runs the graphs.
        graphs: their names, in order.
        inputs: by name.
        outputs: names of what is returned.
    """
    if backend.device != "cpu" and isinstance(backend, Chaining):
        return backend.run_chain(graphs, inputs, outputs)
    known = dict(inputs)
    for graph in graphs:
        known.update(backend.run(graph, {name: known[name] for name in INPUTS[graph]}))
    return {name: known[name] for name in outputs}
