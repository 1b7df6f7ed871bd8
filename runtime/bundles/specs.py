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
    """Width S of the static code; 1, and the code always 0, where the method has no static code."""
    dynamic_size: int
    """Width D of a dynamic code."""
    features: int = 0
    """Number G of features of an element."""
    context: int = 0
    """Width C of what the static path passes to the dynamic path; 0 where it passes nothing."""
    state: int = 0
    """Width K of the state that a live stream keeps; 0 where the model cannot run online."""


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, dtype and shape of a tensor; a string in the shape is an axis of any size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class FileSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle."""

    path: str
    """Path relative to the bundle, with forward slashes."""
    sha256: str
    size: int
    """Size in bytes."""
    exporter: str = ""
    opset: int | None = None
    ir_version: int | None = None
    precision: Precision | msgspec.UnsetType = msgspec.UNSET
    """Precision in which a graph computes, whatever its inputs and outputs. Only graphs have it; bundles made before
    there was a choice lack it, and their graphs are float32."""


class GraphSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the graphs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[GraphFormat, FileSpec]


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Origin of a bundle: run, weights, data and versions."""

    sdkit_version: str = ""
    torch_version: str = ""
    created: str = ""
    """Time of the export in UTC, ISO 8601."""
    run: str = ""
    weights: str = ""
    """Name of the exported weights: `best` or `last`."""
    weights_sha256: str = ""
    """SHA-256 of the safetensors file; it identifies the model, whatever format it was exported to."""
    epochs: int = 0
    data: str = ""
    data_source: str = ""
    data_licence: str = ""
    seed: int = 0
    preset: str = ""
    commit: str = ""
