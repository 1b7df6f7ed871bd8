"""Writers of graphs: ONNX by torch's tracing exporter, and TorchScript."""

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sdkit.export.graphs.rewrites import rewrite
from sdkit.export.graphs.signatures import Signature
from sdkit.runtime.bundles.bundle import file_spec
from sdkit.runtime.bundles.specs import FileSpec, Precision, TensorSpec
from sdkit.runtime.errors import ConfigError, MissingExtraError

OPSETS = (17, 18, 19, 20)
NEWEST_IR = 10
"""Largest IR version: older hosts refuse newer ones."""
EXAMPLE = {"B": 3, "T": 7}
"""Sizes of the traced example: an axis of 1, or two equal axes, could be frozen unnoticed."""


def check_opset(opset: int) -> None:
    """Raise ConfigError unless the opset can be written."""
    if opset not in OPSETS:
        raise ConfigError(f"opset {opset} cannot be written; choose one of {', '.join(map(str, OPSETS))}")


def write_onnx(
    module: Any,
    signature: Signature,
    path: Path,
    *,
    opset: int,
    metadata: Mapping[str, str],
    precision: Precision = "float32",
) -> FileSpec:
    """Write a graph as ONNX, rewrite it to run faster (`export.rewrites`), check it, stamp its contract into
    metadata_props and return its manifest entry. The graph is float32, even where it is to be converted to another
    `precision` later.

    torch's tracing exporter is used on purpose: the newer one freezes the number of steps of an LSTM up to torch 2.14.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    import torch

    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx is not installed; pip install 'sdkit[train]'") from error
    inputs, outputs, _ = signature
    with _quiet():
        torch.onnx.export(
            module,
            _example(signature),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=[t.name for t in inputs],
            output_names=[t.name for t in outputs],
            dynamic_axes={t.name: _free_axes(t) for t in (*inputs, *outputs)},
        )
    proto = onnx.load(str(path))
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    proto.producer_name = "sdkit"
    # The exporter drops an input that a variant does not use, and infers no width behind a loop; the contract has both.
    for values, tensors in ((proto.graph.input, inputs), (proto.graph.output, outputs)):
        del values[:]
        values.extend(_value_info(onnx, tensor) for tensor in tensors)
    rewrite(proto, precision)
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))
    return file_spec(
        path.parent,
        path.name,
        exporter=f"torch {torch.__version__} tracing",
        opset=opset,
        ir_version=proto.ir_version,
        precision="float32",
    )


def write_torchscript(module: Any, signature: Signature, path: Path, *, metadata: Mapping[str, str]) -> FileSpec:
    """Write a graph as TorchScript with its contract in the extra file `metadata.json`; return its manifest entry."""
    import torch

    with _quiet(), torch.no_grad():
        scripted = isinstance(module, torch.jit.ScriptModule)
        traced = module if scripted else torch.jit.trace(module, _example(signature), check_trace=False)  # type: ignore[no-untyped-call]
        extra = {"metadata.json": json.dumps(dict(metadata))}
        stream = io.BytesIO()  # of a disk that is full PyTorch says nothing that tells why
        torch.jit.save(traced, stream, _extra_files=extra)
        path.write_bytes(stream.getbuffer())
    return file_spec(path.parent, path.name, exporter=f"torch {torch.__version__} jit.trace", precision="float32")


def compiled(module: Any) -> Any:
    """Return a graph compiled, where its attribute `compiled` asks for it, so that a loop over steps remains a loop."""
    import torch

    if not getattr(module, "compiled", False):
        return module
    with _quiet():
        return torch.jit.script(module)


def _value_info(onnx: Any, tensor: TensorSpec) -> Any:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return onnx.helper.make_tensor_value_info(tensor.name, dtype, tensor.shape)


def _example(signature: Signature) -> tuple[Any, ...]:
    import torch

    inputs = signature.inputs
    sizes = EXAMPLE if signature.max_steps is None else {**EXAMPLE, "T": min(EXAMPLE["T"], signature.max_steps)}
    shapes = [tuple(sizes.get(a, a) if isinstance(a, str) else a for a in t.shape) for t in inputs]
    return tuple(
        torch.zeros(shape, dtype=getattr(torch, t.dtype))  # type: ignore[arg-type]
        for shape, t in zip(shapes, inputs, strict=True)
    )


def _free_axes(tensor: TensorSpec) -> dict[int, str]:
    return {i: axis for i, axis in enumerate(tensor.shape) if isinstance(axis, str)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's warnings on TorchScript's age, its exporter and traced sizes: parity is proven afterwards."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        warnings.filterwarnings("ignore", message="Exporting a model to ONNX with a batch_size other than 1")
        try:
            import torch

            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        finally:
            yield
