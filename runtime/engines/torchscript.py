"""TorchScript behind the `Backend` protocol. The one module of the runtime that may import torch."""

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.device import parse_device
from sdkit.runtime.element import Array
from sdkit.runtime.engines.backend import Declared, add
from sdkit.runtime.errors import BundleError, DeviceError, MissingExtraError, SdkitError, first_line


class TorchScriptBackend:
    """Runs a bundle's TorchScript graphs. TorchScript is code: a caller must ask for it by name, and trust the bundle.

    Args:
        bundle: an opened bundle that holds TorchScript graphs.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: number of threads of one operator; torch's own choice when None. It holds for the whole process.

    Raises:
        MissingExtraError: torch is not installed.
        BundleError: no TorchScript graphs.
        DeviceError: CUDA was asked for and cannot be had.
    """

    name = "torchscript"

    def __init__(self, bundle: Bundle, device: str = "auto", threads: int | None = None) -> None:
        self.bundle, self.ports = bundle, bundle.manifest.ports
        self._torch = _torch()
        self.device = self._choose(device)
        if threads:
            self._torch.set_num_threads(threads)
        bundle.graph_file(next(iter(self.ports)), "torchscript")
        self._declared = Declared(bundle)
        self._modules: dict[str, Any] = {}

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on numpy arrays."""
        ports = self.ports[graph]
        with self._errors(graph):
            arrays = [inputs[name] for name in ports.inputs]
            found = call_module(self._module(graph), arrays, ports.outputs, self.device)
        return self._declared.check(graph, inputs, found)

    def run_chain(self, graphs: Sequence[str], inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run graphs one after the other; outputs of one stay on the device for the next (`backend.chain`)."""
        with self._torch.inference_mode():
            pool = {name: _tensor(array, self.device) for name, array in inputs.items()}
            for graph in graphs:
                ports = self.ports[graph]
                with self._errors(graph):
                    results = _several(self._module(graph)(*(pool[name] for name in ports.inputs)))
                    add(pool, dict(zip(ports.outputs, results, strict=True)))
            return {name: pool[name].cpu().numpy() for name in outputs}

    def _module(self, graph: str) -> Any:
        if graph not in self._modules:
            file = io.BytesIO(self.bundle.graph_bytes(graph, "torchscript"))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
                self._modules[graph] = self._torch.jit.load(file, map_location=self.device).eval()
        return self._modules[graph]

    @contextmanager
    def _errors(self, graph: str) -> Iterator[None]:
        """Turn PyTorch's errors, which are of many kinds, into ours."""
        try:
            yield
        except SdkitError:
            raise
        except Exception as error:
            raise BundleError(
                f"{self.bundle.path}: graph '{graph}' failed in PyTorch {self._torch.__version__}: {first_line(error)}"
            ) from error

    def _choose(self, device: str) -> str:
        kind, number = parse_device(device)
        available = kind != "cpu" and self._torch.cuda.is_available()
        if kind == "cuda" and not (available and number < self._torch.cuda.device_count()):
            raise DeviceError(f"device {device} was asked for, but this PyTorch does not see it; use auto or cpu")
        return f"cuda:{number}" if available else "cpu"


def call_module(module: Any, arrays: Iterable[Array], outputs: Iterable[str], device: str) -> dict[str, Array]:
    """Call a module of tensors on numpy arrays and return its outputs, one or a tuple, by name."""
    import torch

    with torch.inference_mode():
        results = _several(module(*(_tensor(array, device) for array in arrays)))
    return {name: result.cpu().numpy() for name, result in zip(outputs, results, strict=True)}


def _tensor(array: Array, device: str) -> Any:
    import torch

    # PyTorch takes neither arrays that run backwards nor, without a warning, read-only ones.
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def _several(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(
            "TorchScript graphs need PyTorch; pip install 'sdkit[train]', or use the ONNX graphs"
        ) from error
    return torch
