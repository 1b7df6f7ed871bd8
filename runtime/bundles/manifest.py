"""manifest.json: the typed contract of a bundle."""

import hashlib
from types import MappingProxyType
from typing import Any

import msgspec

from sdkit.runtime.bundles.specs import (
    FORMAT,
    SUFFIXES,
    VERSION,
    FileSpec,
    GraphFormat,
    GraphSpec,
    Precision,
    Provenance,
    TensorSpec,
    Widths,
)
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.contract import WIDTHS, Ports, axes
from sdkit.runtime.element import Element
from sdkit.runtime.kinds import names


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a host must know."""

    element: Element
    widths: Widths
    graphs: dict[str, GraphSpec]
    method: str
    """Name of the method, such as `dbse`."""
    variant: str
    """Name of the method's variant; `custom` for other settings, empty where the method has no variants."""
    settings: dict[str, Any]
    """The method's settings, whole. No host needs them."""
    capabilities: tuple[str, ...]
    """Verbs that the bundle has (`contract.VERBS`)."""
    refusals: dict[str, str]
    """Reasons for the verbs that the bundle does not have, by verb."""
    steps: int
    """T of the training data; graphs take any T >= 2."""
    max_steps: int | None = None
    """Largest T that the prior draws; any when null."""
    feature_mean: tuple[float, ...] = ()
    """Mean of each feature (F,) over the training data, in data units; empty for images."""
    feature_std: tuple[float, ...] = ()
    """Standard deviation of each feature (F,) over the training data, in data units; empty for images."""
    files: dict[str, FileSpec] = {}
    """Golden vectors, parity report and model card."""
    provenance: Provenance = Provenance()
    format: str = FORMAT
    version: int = VERSION
    digest: str = ""
    """SHA-256 of this manifest's compact JSON with an empty digest."""

    def sealed(self) -> "Manifest":
        """Return the manifest with its own digest."""
        return msgspec.structs.replace(self, digest=digest(self))

    def to_json(self) -> bytes:
        """Return the text of manifest.json, sealed."""
        return msgspec.json.format(msgspec.json.encode(self.sealed()), indent=2) + b"\n"

    @property
    def formats(self) -> tuple[GraphFormat, ...]:
        """Formats in which every graph is there."""
        return tuple(f for f in SUFFIXES if all(f in graph.files for graph in self.graphs.values()))

    @property
    def precision(self) -> Precision:
        """The lowest precision of a graph."""
        found = {spec.precision for graph in self.graphs.values() for spec in graph.files.values()}
        return "int8" if "int8" in found else "float16" if "float16" in found else "float32"

    def precision_of(self, graph: str, format_: GraphFormat = "onnx") -> Precision:
        """Return the precision of a graph's file; float32 where the manifest does not state it or has no such file."""
        spec = self.graphs[graph].files.get(format_) if graph in self.graphs else None
        return spec.precision if spec is not None and spec.precision is not msgspec.UNSET else "float32"

    @property
    def ports(self) -> dict[str, Ports]:
        """Names of what every graph takes and returns."""
        return {
            name: Ports(tuple(t.name for t in graph.inputs), tuple(t.name for t in graph.outputs))
            for name, graph in self.graphs.items()
        }

    @property
    def abilities(self) -> Abilities:
        """The verbs that the bundle has, and a reason for each of the others."""
        return Abilities(self.method, MappingProxyType(self.refusals), self.max_steps)


def digest(manifest: msgspec.Struct) -> str:
    """Return the SHA-256 of a manifest's compact JSON with an empty digest."""
    blank = msgspec.structs.replace(manifest, digest="")
    return hashlib.sha256(msgspec.json.encode(blank)).hexdigest()


def shape(graph: str, tensor: str, element: Element, widths: Widths) -> tuple[int | str, ...]:
    """Return the shape of a tensor of a graph; B and T stay letters."""
    found: list[int | str] = []
    for axis in axes(graph, tensor):
        if axis == "*element":
            found.extend(element.shape)
        else:
            found.append(getattr(widths, WIDTHS[axis]) if axis in WIDTHS else axis)  # type: ignore[index]
    return tuple(found)


def tensor(graph: str, name: str, element: Element, widths: Widths) -> TensorSpec:
    """Return a tensor of a graph as the contract has it."""
    given = graph == "encoder" and name == "x"
    return TensorSpec(name, element.dtype if given else "float32", shape(graph, name, element, widths))


def schema() -> dict[str, Any]:
    """Return the JSON schema of manifest.json."""
    found = msgspec.json.schema(Manifest)
    found["$defs"]["Element"]["properties"]["kind"]["enum"] = list(names())
    return found
