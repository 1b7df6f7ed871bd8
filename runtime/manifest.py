"""manifest.json: the typed contract of a bundle."""

import hashlib
from typing import Any, Literal

import msgspec

from sdkit.runtime.backend import GRAPHS, STEP
from sdkit.runtime.element import Element
from sdkit.runtime.errors import BundleVersionError, ManifestError

FORMAT = "sdkit-bundle"
VERSION = 1

GraphFormat = Literal["onnx", "torchscript"]
Precision = Literal["float32", "float16", "int8"]
SUFFIXES: dict[GraphFormat, str] = {"onnx": ".onnx", "torchscript": ".ts.pt"}


class Letters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Widths that a host needs."""

    static_size: int
    """S."""
    dynamic_size: int
    """D."""
    features: int = 0
    """G."""
    hidden_size: int = 0
    """H."""


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, dtype and shape of a tensor; a string in the shape is an axis of any size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class FileSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle."""

    path: str
    """Relative to the bundle, with forward slashes."""
    sha256: str
    size: int
    """Bytes."""
    exporter: str = ""
    opset: int | None = None
    ir_version: int | None = None
    precision: Precision | msgspec.UnsetType = msgspec.UNSET
    """That a graph computes in, whatever its inputs and outputs; of graphs only, and not in bundles made before there
    was a choice, whose graphs are float32."""


class GraphSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the graphs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[GraphFormat, FileSpec]


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a bundle comes from."""

    sdkit_version: str = ""
    torch_version: str = ""
    created: str = ""
    """UTC, ISO 8601."""
    run: str = ""
    weights: str = ""
    """`best` or `last`."""
    weights_sha256: str = ""
    """Of the safetensors file: names the model whatever format it was exported to."""
    epochs: int = 0
    data: str = ""
    data_source: str = ""
    data_licence: str = ""
    seed: int = 0
    preset: str = ""
    commit: str = ""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a host must know."""

    element: Element
    letters: Letters
    graphs: dict[str, GraphSpec]
    steps: int
    """T of the training data; graphs take any T >= 2."""
    anchor: str
    """`first`, `middle` (T // 2) or `last`."""
    anchor_dynamic: str
    """`zero` or `inferred`."""
    causal: bool
    variant: str
    model: dict[str, Any]
    """The model's config, whole."""
    files: dict[str, FileSpec] = {}
    """Golden vectors, parity report and model card."""
    provenance: Provenance = Provenance()
    format: str = FORMAT
    version: int = VERSION
    digest: str = ""
    """SHA-256 of this manifest's compact JSON with an empty digest."""

    def sealed(self) -> "Manifest":
        """Return the manifest with its own digest."""
        blank = msgspec.structs.replace(self, digest="")
        return msgspec.structs.replace(blank, digest=hashlib.sha256(msgspec.json.encode(blank)).hexdigest())

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
        """Return the precision of a graph's file; float32 where it is not told or not there."""
        spec = self.graphs[graph].files.get(format_) if graph in self.graphs else None
        return spec.precision if spec is not None and spec.precision is not msgspec.UNSET else "float32"

    @property
    def state_size(self) -> int:
        """K: width of a stream's state (B, K); 0 where there is no `dynamic_step` graph."""
        inputs = self.graphs[STEP].inputs if STEP in self.graphs else ()
        sizes = [t.shape[-1] for t in inputs if t.name == "state" and t.shape]
        return sizes[0] if sizes and isinstance(sizes[0], int) else 0


def parse(text: bytes, where: str) -> Manifest:
    """Return the manifest of a text.

    Raises:
        BundleVersionError: of a version that this sdkit does not read.
        ManifestError: not JSON, unknown or missing keys or graphs, or changed since it was sealed.
    """
    try:
        header = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"{where} is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ManifestError(f"{where} is not the manifest of an sdkit bundle: it has no format '{FORMAT}'")
    if header.get("version") != VERSION:
        raise BundleVersionError(f"{where} has version {header.get('version')}; this sdkit reads version {VERSION}")
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.ValidationError, ValueError) as error:
        raise ManifestError(f"{where} does not follow the manifest's schema: {error}") from error
    if not set(GRAPHS) <= set(manifest.graphs) <= {*GRAPHS, STEP}:
        raise ManifestError(
            f"{where} names the graphs {', '.join(manifest.graphs)}; expected {', '.join(GRAPHS)}, and {STEP} or none"
        )
    if STEP in manifest.graphs and manifest.state_size < 1:
        raise ManifestError(f"{where} gives the graph {STEP} no input 'state' (B, K) of a fixed width K")
    if manifest.sealed().digest != manifest.digest:
        raise ManifestError(
            f"{where} was changed after it was written: its digest does not fit; export the bundle again"
        )
    return manifest


def schema() -> dict[str, Any]:
    """Return the JSON schema of manifest.json."""
    return msgspec.json.schema(Manifest)
