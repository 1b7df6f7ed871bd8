"""ONNX Runtime behind the `Backend` protocol."""

import contextlib
import io
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.specs import TensorSpec
from sdkit.runtime.contract import MEANS
from sdkit.runtime.device import parse_device, usable_processors
from sdkit.runtime.element import Array
from sdkit.runtime.engines.backend import Backend, Declared, add
from sdkit.runtime.errors import BundleError, DeviceError, ManifestError, MissingExtraError, first_line

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
ERRORS_ONLY = 3
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
"""Without the first, each new shape, such as that of the last batch, would be timed with every algorithm; without the
second, memory would double whenever it grows."""
IN_FLIGHT = 2
"""Number of batches in flight on a GPU: while one is computed, another is copied."""
LARGE = ("encoder", "decoder")
"""Graphs worth several threads. The others are done before a second thread is awake, and the threads that each session
keeps for itself would get in the way of those at work."""


class OnnxBackend:
    """Runs a bundle's ONNX graphs; a session is opened when its graph is first used.

    Args:
        bundle: an opened bundle that holds ONNX graphs.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: number of threads of one operator of a large graph; the processors this process may use when None.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BundleError: no ONNX graphs.
        DeviceError: CUDA was asked for and cannot be had.
    """

    name = "onnx"

    def __init__(self, bundle: Bundle, device: str = "auto", threads: int | None = None) -> None:
        self.bundle, self.ports = bundle, bundle.manifest.ports
        self._threads = threads or usable_processors()
        self._ort = _onnxruntime()
        self._declared = Declared(bundle)
        self._sessions: dict[str, Any] = {}
        self._outputs: dict[str, list[str]] = {}
        self._opening = threading.Lock()
        self._single: OnnxBackend | None = None
        self.device = self._choose(device)
        # The first session shows whether the device is really there, before any data are read.
        self._session(self._first)

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on numpy arrays."""
        session = self._session(graph)
        names = self._outputs[graph]
        try:
            found = dict(zip(names, session.run(names, dict(inputs)), strict=True))
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise self._failed(graph, error) from error
        return self._declared.check(graph, inputs, found)

    def run_chain(self, graphs: Sequence[str], inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run graphs one after the other; outputs of one stay on the device for the next (`backend.chain`)."""
        kind, number = parse_device(self.device)
        place = self._ort.OrtValue.ortvalue_from_numpy
        taken = {name for graph in graphs for name in self.ports[graph].inputs} | set(outputs)
        taken |= {mean for mean, code in MEANS.items() if code in taken}
        pool = {
            name: place(np.ascontiguousarray(array), kind, number) for name, array in inputs.items() if name in taken
        }
        for graph in graphs:
            session = self._session(graph)
            given = [name for name in self._outputs[graph] if name in taken]
            try:
                binding = session.io_binding()
                for name in self.ports[graph].inputs:
                    binding.bind_ortvalue_input(name, pool[name])
                for name in given:
                    binding.bind_output(name, kind, number)
                session.run_with_iobinding(binding)
                add(pool, dict(zip(given, binding.get_outputs(), strict=True)))
            except Exception as error:
                raise self._failed(graph, error) from error
        return {name: pool[name].numpy() for name in outputs}

    def divided(self) -> tuple[Backend, int]:
        """Return a backend of one thread to a graph and the number of threads; on a GPU, itself for two batches.

        With one thread to a graph, none waits for another, and small operators use the machine as fully as large ones:
        on the CPU this is the fastest way through many batches.
        """
        if self.device != "cpu":
            return self, IN_FLIGHT
        if self._threads == 1:
            return self, 1
        if self._single is None:
            self._single = OnnxBackend(self.bundle, "cpu", 1)
        return self._single, self._threads

    @property
    def _first(self) -> str:
        """The smallest graph, whose session shows whether the device is really there."""
        return min(self.ports, key=lambda graph: self.bundle.manifest.graphs[graph].files["onnx"].size)

    def _choose(self, device: str) -> str:
        kind, number = parse_device(device)
        if kind == "cpu":
            return "cpu"
        self._preload()
        if CUDA not in self._ort.get_available_providers():
            if kind == "auto":
                return "cpu"
            have = ", ".join(self._ort.get_available_providers())
            raise DeviceError(
                f"device {device} was asked for, but this onnxruntime has no CUDA provider (it has: {have}); "
                "pip uninstall onnxruntime, then pip install 'sdkit[gpu]'"
            )
        self.device = f"cuda:{number}"
        try:
            self._session(self._first)
        except DeviceError:
            if kind == "cuda":
                raise
            return "cpu"
        return self.device

    def _preload(self) -> None:
        # The CUDA libraries of pip packages are found only this way; what is missing is printed, not raised.
        if hasattr(self._ort, "preload_dlls") and CUDA in self._ort.get_available_providers():
            with contextlib.redirect_stdout(io.StringIO()):
                self._ort.preload_dlls()

    def _session(self, graph: str) -> Any:
        with self._opening:
            if graph not in self._sessions:
                session = self._open(graph, self.device)
                self._check_tensors(graph, session)
                self._outputs[graph] = [output.name for output in session.get_outputs()]
                self._sessions[graph] = session
            return self._sessions[graph]

    def _open(self, graph: str, device: str) -> Any:
        options = self._ort.SessionOptions()
        options.log_severity_level = ERRORS_ONLY if device == "cpu" else ERRORS_ONLY + 1
        options.intra_op_num_threads = self._threads if graph in LARGE else 1
        options.inter_op_num_threads = 1
        # Within a run, threads spin while they wait, which is fastest; after it they free the processors.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        providers: list[Any] = [CPU]
        if device != "cpu":
            providers = [(CUDA, {"device_id": int(device.partition(":")[2]), **CUDA_OPTIONS}), CPU]
        # Bytes instead of a path: nothing beside the file can be taken for a part of it.
        file, data = self.bundle.graph_file(graph, "onnx"), self.bundle.graph_bytes(graph, "onnx")
        try:
            session = self._ort.InferenceSession(data, options, providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            if device != "cpu":
                raise DeviceError(f"device {device} cannot be used: {first_line(error)}") from error
            raise BundleError(
                f"{file} cannot be loaded by onnxruntime {self._ort.__version__}: {first_line(error)}"
            ) from error
        if device != "cpu" and CUDA not in session.get_providers():
            raise DeviceError(
                f"device {device} was asked for, but onnxruntime fell back to {', '.join(session.get_providers())}: "
                "a CUDA or cuDNN library is missing; `sdkit doctor` names it"
            )
        return session

    def _check_tensors(self, graph: str, session: Any) -> None:
        """Check the inputs and outputs of a graph against the manifest: names, dtypes, ranks and fixed sizes."""
        spec = self.bundle.manifest.graphs[graph]
        for found, wanted in ((session.get_inputs(), spec.inputs), (session.get_outputs(), spec.outputs)):
            tensors = {tensor.name: tensor for tensor in found}
            if set(tensors) != {tensor.name for tensor in wanted}:
                raise ManifestError(
                    f"{self.bundle.path}: graph '{graph}' has other inputs or outputs than the manifest says"
                )
            for tensor in wanted:
                given = tensors[tensor.name]
                if not _same(given, tensor):
                    raise ManifestError(
                        f"{self.bundle.path}: graph '{graph}' has {tensor.name} as {given.type} {given.shape}; the "
                        f"manifest says {tensor.dtype} {list(tensor.shape)}"
                    )

    def _failed(self, graph: str, error: Exception) -> BundleError:
        return BundleError(
            f"{self.bundle.path}: graph '{graph}' failed in onnxruntime {self._ort.__version__}: {first_line(error)}; "
            "`sdkit verify` tells whether the bundle is sound, a smaller --batch-size takes less memory"
        )


NUMPY = {"float": "float32", "double": "float64"}
"""Names of numpy's dtypes by those of ONNX Runtime, where they differ."""


def _same(found: Any, wanted: TensorSpec) -> bool:
    """Return whether an input or output of a session is what the manifest says."""
    name = found.type.removeprefix("tensor(").removesuffix(")")
    return (
        NUMPY.get(name, name) == wanted.dtype
        and len(found.shape) == len(wanted.shape)
        and all(
            got == want if isinstance(want, int) else not isinstance(got, int)
            for got, want in zip(found.shape, wanted.shape, strict=True)
        )
    )


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "onnxruntime is not installed; pip install 'sdkit[cpu]', or 'sdkit[gpu]' for CUDA (one of them, never both)"
        ) from error
    return onnxruntime
