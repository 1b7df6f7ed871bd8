"""Engines that run a graph: ONNX Runtime, TorchScript or the training model itself, behind one small protocol."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.contract import MEANS, Ports
from sdkit.runtime.element import Array
from sdkit.runtime.errors import BundleError, DataError


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

    Raises:
        DataError: an output that is not finite.
    """
    if backend.device != "cpu" and isinstance(backend, Chaining):
        return finite(backend.run_chain(graphs, inputs, outputs), graphs)
    pool: dict[str, Any] = dict(inputs)
    for graph in graphs:
        add(pool, backend.run(graph, {name: pool[name] for name in backend.ports[graph].inputs}))
    return finite({name: pool[name] for name in outputs}, graphs)


def finite(outputs: dict[str, Array], graphs: Sequence[str]) -> dict[str, Array]:
    """Return outputs of graphs if every value is finite; the check takes a hundredth of the time of a decoder.

    Raises:
        DataError: a value is NaN or infinite.
    """
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(
                f"'{name}' of the graph{'s' * (len(graphs) > 1)} {', '.join(graphs)} has values that are not finite "
                "(NaN or infinite): its input is far from the data of the training, or the weights are damaged; `sdkit "
                "verify` tells which"
            )
    return outputs


def add(pool: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Add a graph's outputs to the pool; a mean stands for its code where there is none yet."""
    pool.update(found)
    for mean, code in MEANS.items():
        if mean in found:
            pool.setdefault(code, found[mean])


class Declared:
    """Shapes and dtypes that a bundle's manifest states for the results of its graphs.

    No engine holds a graph to the shapes that it declares. Shapes that were compared once are known by then, so that
    an element of a live stream costs a look-up.
    """

    most = 1024
    """Number of combinations of shapes that are remembered."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._names = {name: tuple(t.name for t in graph.inputs) for name, graph in bundle.manifest.graphs.items()}
        self._known: set[tuple[Any, ...]] = set()

    def check(self, graph: str, inputs: Mapping[str, Array], found: dict[str, Array]) -> dict[str, Array]:
        """Return the results of a graph if they are as declared.

        Raises:
            BundleError: a result has another shape or dtype.
        """
        key = (
            graph,
            *[inputs[name].shape for name in self._names[graph]],
            *[(name, value.shape, value.dtype) for name, value in found.items()],
        )
        if key not in self._known:
            self._compare(graph, inputs, found)
            if len(self._known) >= self.most:
                self._known.clear()
            self._known.add(key)
        return found

    def _compare(self, graph: str, inputs: Mapping[str, Array], found: Mapping[str, Array]) -> None:
        spec = self._bundle.manifest.graphs[graph]
        sizes: dict[int | str, int] = {}
        for tensor in spec.inputs:
            sizes.update(zip(tensor.shape, inputs[tensor.name].shape, strict=True))
        for tensor in spec.outputs:
            got = found[tensor.name]
            wanted = tuple([size if isinstance(size, int) else sizes.get(size) for size in tensor.shape])
            if got.shape != wanted or got.dtype != tensor.dtype:
                raise BundleError(
                    f"{self._bundle.path}: graph '{graph}' returned {tensor.name} as {got.shape} {got.dtype} instead "
                    f"of {wanted} {tensor.dtype}; do not use this bundle"
                )
