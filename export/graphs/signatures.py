"""Signatures of a method's graphs: names, dtypes and shapes of inputs and outputs (`runtime.contract`)."""

from typing import TYPE_CHECKING, NamedTuple

from sdkit.runtime.bundles.manifest import tensor
from sdkit.runtime.bundles.specs import TensorSpec, Widths
from sdkit.runtime.contract import GRAPHS
from sdkit.runtime.element import Element

if TYPE_CHECKING:
    from torch import nn


class Signature(NamedTuple):
    """Inputs and outputs of a graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_steps: int | None = None
    """Largest T that the graph can run on; any when None."""


def signatures(
    graphs: "dict[str, nn.Module]", element: Element, widths: Widths, max_steps: int | None = None
) -> dict[str, Signature]:
    """Return the signature of every graph, in the order of the contract.

    Args:
        graphs: modules with the attributes `inputs` and `outputs`, by name.
        element: element of the data.
        widths: widths of the model.
        max_steps: largest T that the prior draws.
    """
    return {
        name: Signature(
            tuple(tensor(name, taken, element, widths) for taken in graphs[name].inputs),  # type: ignore[union-attr]
            tuple(tensor(name, given, element, widths) for given in graphs[name].outputs),  # type: ignore[union-attr]
            max_steps if name == "prior" else None,
        )
        for name in GRAPHS
        if name in graphs
    }
