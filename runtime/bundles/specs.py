"""Parts of a manifest that every format of it has: files, tensors, graphs, widths, provenance."""

from typing import Literal

import msgspec

FORMAT = "sdkit-bundle"
VERSION = 2

GraphFormat = Literal["onnx", "torchscript"]
Precision = Literal["float32", "float16", "int8"]
SUFFIXES: dict[GraphFormat, str] = {"onnx": ".onnx", "torchscript": ".ts.pt"}


class Widths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Axes that the model fixes (`contract.WIDTHS`)."""

    static_size: int
    """S; 1, and always 0, where the method has no static code."""
    dynamic_size: int
    """D."""
    features: int = 0
    """G."""
    context: int = 0
    """C: what the dynamic path is told of the static path; 0 where it is told nothing."""
    state: int = 0
    """K: what a live stream keeps of its past; 0 where the model cannot run online."""


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
