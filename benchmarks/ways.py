"""Encode, swap and generate over HDF5 files as a user would write them with PyTorch or ONNX Runtime alone.

Every way reads the same file and writes the same data sets, gzip level 1, in chunks of eight sequences.
"""

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from sdkit.methods.dbse.model import SplitModel
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sdkit.methods.graphs import graphs
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Array

ROWS = 8
"""Sequences of a chunk."""


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
        modules: the five graphs, called with tensors.
        bf16: run encoder and decoder under bf16 autocast; the recurrent parts stay in float32, as in training.
        workers: of the DataLoader.
    """

    def __init__(
        self, modules: dict[str, Any], batch_size: int, compression: str, *, bf16: bool = False, workers: int = 0
    ) -> None:
        super().__init__(batch_size, compression)
        self.modules, self.bf16, self.workers = modules, bf16, workers

    def batches(self, path: Path) -> Iterator[Tensor]:
        """Yield (B, T, C, H, W) uint8."""
        yield from DataLoader(Sequences(path), self.batch_size, num_workers=self.workers)

    @torch.inference_mode()
    def codes(self, x: Tensor) -> tuple[Array, Array]:
        """Return static and dynamic codes."""
        with self._autocast():
            features = self._call("encoder", x)[0]
        static, _, hidden = self._call("static", features.float())
        dynamic, _ = self._call("dynamic", features.float(), hidden)
        return static.numpy(), dynamic.numpy()

    @torch.inference_mode()
    def pictures(self, static: Array, dynamic: Array) -> Array:
        """Return uint8 pictures."""
        with self._autocast():
            x = self._call("decoder", torch.from_numpy(static), torch.from_numpy(dynamic))[0]
        return x.float().round().clamp(0, 255).to(torch.uint8).numpy()

    @torch.inference_mode()
    def sample(self, count: int, steps: int) -> tuple[Array, Array]:
        """Return codes drawn from the prior."""
        dynamic, _ = self._call("prior", torch.randn(count, steps, self._width("prior")))
        return torch.randn(count, self._width("static")).numpy(), dynamic.numpy()

    def _call(self, graph: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.modules[graph](*inputs)
        return found if isinstance(found, tuple) else (found,)

    def _width(self, graph: str) -> int:
        return int(self.modules["widths"][graph])

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self.bf16 else contextlib.nullcontext()


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
            for graph in ("encoder", "static", "dynamic", "decoder", "prior")
        }
        self.letters = bundle.manifest.letters

    def batches(self, path: Path) -> Iterator[Array]:
        """Yield (B, T, C, H, W) uint8."""
        with h5py.File(path) as file:
            for start in range(0, len(file["data"]), self.batch_size):
                yield file["data"][start : start + self.batch_size]

    def codes(self, x: Array) -> tuple[Array, Array]:
        """Return static and dynamic codes."""
        (features,) = self.sessions["encoder"].run(None, {"x": x})
        static, _, hidden = self.sessions["static"].run(None, {"features": features})
        dynamic, _ = self.sessions["dynamic"].run(None, {"features": features, "static_hidden": hidden})
        return static, dynamic

    def pictures(self, static: Array, dynamic: Array) -> Array:
        """Return uint8 pictures."""
        x = self.sessions["decoder"].run(None, {"static": static, "dynamic": dynamic})[0]
        pictures: Array = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        return pictures

    def sample(self, count: int, steps: int) -> tuple[Array, Array]:
        """Return codes drawn from the prior."""
        rng = np.random.default_rng()
        noise = rng.standard_normal((count, steps, self.letters.dynamic_size), np.float32)
        dynamic = self.sessions["prior"].run(None, {"noise": noise})[0]
        return rng.standard_normal((count, self.letters.static_size), np.float32), dynamic


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


def eager(model: SplitModel, *, channels_last: bool = False) -> dict[str, Any]:
    """Return the graphs as modules of a model."""
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return {**graphs(model.eval()), "widths": _widths(model.config.static_size, model.config.dynamic_size)}


def compiled(modules: dict[str, Any]) -> dict[str, Any]:
    """Return the graphs with encoder and decoder, which take nearly all of the time, under torch.compile."""
    return {**modules, **{name: torch.compile(modules[name], dynamic=False) for name in ("encoder", "decoder")}}


def torchscript(bundle: Bundle) -> dict[str, Any]:
    """Return the TorchScript graphs of a bundle."""
    letters = bundle.manifest.letters
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        loaded: dict[str, Callable[..., Any]] = {
            graph: torch.jit.load(str(bundle.graph_file(graph, "torchscript"))).eval()  # type: ignore[no-untyped-call]
            for graph in bundle.manifest.graphs
        }
    return {**loaded, "widths": _widths(letters.static_size, letters.dynamic_size)}


def _widths(static: int, dynamic: int) -> dict[str, int]:
    return {"static": static, "prior": dynamic}
