"""Encode, swap and generate over HDF5 files as a user would write them with PyTorch or ONNX Runtime alone.

Every way reads the same file and writes the same data sets, gzip level 1, in chunks of eight sequences.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sdkit.methods.base import Method
from sdkit.methods.graphs import ports
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.contract import STATIC_PRIOR, VERBS, Ports
from sdkit.runtime.element import Array
from sdkit.runtime.engines.backend import add

ROWS = 8
"""Number of sequences in a chunk."""
ENCODE = VERBS["encode"].graphs


@dataclass(frozen=True)
class Modules:
    """Graphs as PyTorch modules."""

    graphs: dict[str, Callable[..., Any]]
    """Callables that take tensors, in the order of their inputs."""
    ports: dict[str, Ports]
    widths: Widths


class Way(Protocol):
    """A way to run the verbs from file to file."""

    def encode(self, source: Path, target: Path) -> None:
        """Write `static` and `dynamic`."""

    def swap(self, a: Path, b: Path, target: Path) -> None:
        """Write `static_a_dynamic_b` and `static_b_dynamic_a`."""

    def generate(self, target: Path, count: int, steps: int) -> None:
        """Write `data`."""


class Sequences(Dataset[Tensor]):
    """The sequences of a file, one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: h5py.File | None = None
        with h5py.File(path) as file:
            self.count = len(file["data"])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        if self.file is None:
            self.file = h5py.File(self.path)
        return torch.from_numpy(self.file["data"][index])


class Loop(ABC):
    """The loop over batches that PyTorch and ONNX Runtime share: read, run, write, one after the other."""

    def __init__(self, batch_size: int, compression: str) -> None:
        self.batch_size = batch_size
        self.options: dict[str, Any] = {}
        if compression == "gzip":
            self.options = {"compression": "gzip", "compression_opts": 1}

    @abstractmethod
    def batches(self, path: Path) -> Iterator[Any]:
        """Yield the sequences of a file."""

    @abstractmethod
    def codes(self, x: Any) -> tuple[Array, Array]:
        """Return static and dynamic codes of a batch."""

    @abstractmethod
    def pictures(self, static: Array, dynamic: Array) -> Array:
        """Return the decoded batch, uint8."""

    @abstractmethod
    def sample(self, count: int, steps: int) -> tuple[Array, Array]:
        """Return codes drawn from the prior."""

    def encode(self, source: Path, target: Path) -> None:
        """Encode a file."""
        with h5py.File(target, "w") as out:
            for x in self.batches(source):
                static, dynamic = self.codes(x)
                self._append(out, static=static, dynamic=dynamic)

    def swap(self, a: Path, b: Path, target: Path) -> None:
        """Swap the sequences of two files."""
        with h5py.File(target, "w") as out:
            for x, y in zip(self.batches(a), self.batches(b), strict=True):
                (static_a, dynamic_a), (static_b, dynamic_b) = self.codes(x), self.codes(y)
                ab, ba = self.pictures(static_a, dynamic_b), self.pictures(static_b, dynamic_a)
                self._append(out, static_a_dynamic_b=ab, static_b_dynamic_a=ba)

    def generate(self, target: Path, count: int, steps: int) -> None:
        """Draw sequences."""
        with h5py.File(target, "w") as out:
            for start in range(0, count, self.batch_size):
                codes = self.sample(min(self.batch_size, count - start), steps)
                self._append(out, data=self.pictures(*codes))

    def _append(self, out: h5py.File, **arrays: Array) -> None:
        for name, array in arrays.items():
            shape = array.shape[1:]
            if name not in out:
                out.create_dataset(
                    name, (0, *shape), array.dtype, maxshape=(None, *shape), chunks=(ROWS, *shape), **self.options
                )
            data = out[name]
            data.resize(len(data) + len(array), 0)
            data[-len(array) :] = array


class TorchLoop(Loop):
    """PyTorch: a DataLoader over h5py, modules called batch by batch.

    Args:
        modules: the graphs.
        bf16: run encoder and decoder under bf16 autocast; the recurrent parts stay in float32, as in training.
        workers: number of workers of the DataLoader.
    """

    def __init__(
        self, modules: Modules, batch_size: int, compression: str, *, bf16: bool = False, workers: int = 0
    ) -> None:
        super().__init__(batch_size, compression)
        self.modules, self.bf16, self.workers = modules, bf16, workers

    def batches(self, path: Path) -> Iterator[Tensor]:
        """Yield (B, T, C, H, W) uint8."""
        yield from DataLoader(Sequences(path), self.batch_size, num_workers=self.workers)

    @torch.inference_mode()
    def codes(self, x: Tensor) -> tuple[Array, Array]:
        """Return static and dynamic codes."""
        pool: dict[str, Tensor] = {"x": x}
        for graph in ENCODE:
            add(pool, self._call(graph, pool))
        return pool["static_mean"].numpy(), pool["dynamic_mean"].numpy()

    @torch.inference_mode()
    def pictures(self, static: Array, dynamic: Array) -> Array:
        """Return uint8 pictures."""
        codes = {"static": torch.from_numpy(static), "dynamic": torch.from_numpy(dynamic)}
        return self._call("decoder", codes)["x"].round().clamp(0, 255).to(torch.uint8).numpy()

    @torch.inference_mode()
    def sample(self, count: int, steps: int) -> tuple[Array, Array]:
        """Return codes drawn from the prior."""
        widths = self.modules.widths
        dynamic = self._call("prior", {"noise": torch.randn(count, steps, widths.dynamic_size)})["dynamic"]
        static = torch.randn(count, widths.static_size)
        if STATIC_PRIOR in self.modules.graphs:
            static = self._call(STATIC_PRIOR, {"noise": static})["static"]
        return static.numpy(), dynamic.numpy()

    def _call(self, graph: str, pool: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = self.modules.ports[graph]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16 and graph in ("encoder", "decoder")):
            found = self.modules.graphs[graph](*(pool[name] for name in names.inputs))
        found = found if isinstance(found, tuple) else (found,)
        return {name: value.float() for name, value in zip(names.outputs, found, strict=True)}


class OnnxLoop(Loop):
    """ONNX Runtime as its manual shows it: one session a graph with default options, one run a batch while reading."""

    def __init__(self, bundle: Bundle, batch_size: int, compression: str, threads: int | None) -> None:
        import onnxruntime

        super().__init__(batch_size, compression)
        options = onnxruntime.SessionOptions()
        if threads:
            options.intra_op_num_threads = threads
        self.sessions = {
            graph: onnxruntime.InferenceSession(
                str(bundle.graph_file(graph, "onnx")), options, providers=["CPUExecutionProvider"]
            )
            for graph in bundle.manifest.graphs
        }
        self.ports, self.widths = bundle.manifest.ports, bundle.manifest.widths

    def batches(self, path: Path) -> Iterator[Array]:
        """Yield (B, T, C, H, W) uint8."""
        with h5py.File(path) as file:
            for start in range(0, len(file["data"]), self.batch_size):
                yield file["data"][start : start + self.batch_size]

    def codes(self, x: Array) -> tuple[Array, Array]:
        """Return static and dynamic codes."""
        pool: dict[str, Array] = {"x": x}
        for graph in ENCODE:
            add(pool, self._run(graph, pool))
        return pool["static_mean"], pool["dynamic_mean"]

    def pictures(self, static: Array, dynamic: Array) -> Array:
        """Return uint8 pictures."""
        x = self._run("decoder", {"static": static, "dynamic": dynamic})["x"]
        pictures: Array = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        return pictures

    def sample(self, count: int, steps: int) -> tuple[Array, Array]:
        """Return codes drawn from the prior."""
        rng = np.random.default_rng()
        noise = rng.standard_normal((count, steps, self.widths.dynamic_size), np.float32)
        static: Array = rng.standard_normal((count, self.widths.static_size), np.float32)
        if STATIC_PRIOR in self.sessions:
            static = self._run(STATIC_PRIOR, {"noise": static})["static"]
        return static, self._run("prior", {"noise": noise})["dynamic"]

    def _run(self, graph: str, pool: Mapping[str, Array]) -> dict[str, Array]:
        names = self.ports[graph]
        found = self.sessions[graph].run(list(names.outputs), {name: pool[name] for name in names.inputs})
        return dict(zip(names.outputs, found, strict=True))


class Ours:
    """sdkit's file verbs with their defaults."""

    def __init__(self, rt: Any, compression: str) -> None:
        self.rt, self.compression = rt, compression

    def encode(self, source: Path, target: Path) -> None:
        """Encode a file."""
        self.rt.encode_file(source, target, compression=self.compression, force=True)

    def swap(self, a: Path, b: Path, target: Path) -> None:
        """Swap the sequences of two files."""
        self.rt.swap_file(a, b, target, compression=self.compression, force=True)

    def generate(self, target: Path, count: int, steps: int) -> None:
        """Draw sequences."""
        self.rt.generate_file(target, count=count, steps=steps, compression=self.compression, force=True)


def eager(model: Method, *, channels_last: bool = False) -> Modules:
    """Return the graphs of a model as PyTorch modules."""
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    graphs: dict[str, nn.Module] = model.eval().graphs()
    return Modules(dict(graphs), {name: ports(graph) for name, graph in graphs.items()}, model.widths)


def compiled(modules: Modules) -> Modules:
    """Return the graphs with encoder and decoder, which take nearly all of the time, under torch.compile."""
    large = {name: torch.compile(modules.graphs[name], dynamic=False) for name in ("encoder", "decoder")}
    return replace(modules, graphs={**modules.graphs, **large})


def torchscript(bundle: Bundle) -> Modules:
    """Return the TorchScript graphs of a bundle."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        loaded: dict[str, Callable[..., Any]] = {
            graph: torch.jit.load(str(bundle.graph_file(graph, "torchscript"))).eval()  # type: ignore[no-untyped-call]
            for graph in bundle.manifest.graphs
        }
    return Modules(loaded, bundle.manifest.ports, bundle.manifest.widths)
