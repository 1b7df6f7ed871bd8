"""Engines that run a graph: ONNX Runtime, TorchScript or the training model itself, behind one small protocol."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from sdkit.runtime.contract import MEANS, Ports
from sdkit.runtime.element import Array


class Backend(Protocol):
    """Runs graphs on numpy arrays."""

    name: str
    """Name of the engine: `onnx`, `torchscript` or `torch`."""
    device: str
    """Device on which graphs really run: `cpu` or `cuda:N`."""

    @property
    def ports(self) -> Mapping[str, Ports]:
        """Names of what each existing graph takes and returns."""

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on exactly its inputs, by name."""


@runtime_checkable
class Divisible(Protocol):
    """A backend that works through many batches faster with several at a time than with all its threads on each."""

    def divided(self) -> tuple[Backend, int]:
        """Return a backend to be called from several threads at once, and how many keep the device busy."""


def divided(backend: Backend) -> tuple[Backend, int]:
    """Return the backend to run many batches on, and how many to run at a time: one, unless the backend says more."""
    return backend.divided() if isinstance(backend, Divisible) else (backend, 1)


@runtime_checkable
class Chaining(Protocol):
    """A backend that can leave the outputs of one graph on its device for the next."""

    def run_chain(self, graphs: Sequence[str], inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run graphs one after the other, as `chain` does."""


def chain(
    backend: Backend, graphs: Sequence[str], inputs: Mapping[str, Array], outputs: Sequence[str]
) -> dict[str, Array]:
    """Run graphs one after the other over a pool of tensors (`runtime.contract`).

    On a device with a memory of its own only `inputs` go there, and only `outputs` come back, if the backend can.

    Args:
        backend: runs the graphs.
        graphs: their names, in order.
        inputs: tensors in the pool at first, by name; those that no graph takes are ignored.
        outputs: names of the tensors to return.
    """
    if backend.device != "cpu" and isinstance(backend, Chaining):
        return backend.run_chain(graphs, inputs, outputs)
    pool: dict[str, Any] = dict(inputs)
    for graph in graphs:
        add(pool, backend.run(graph, {name: pool[name] for name in backend.ports[graph].inputs}))
    return {name: pool[name] for name in outputs}


def add(pool: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Add a graph's outputs to the pool; a mean stands for its code where there is none yet."""
    pool.update(found)
    for mean, code in MEANS.items():
        if mean in found:
            pool.setdefault(code, found[mean])
