"""The cost of a bundle on this machine: throughput, its bound, latency, memory, start-up, and time by operator.

Throughput is that of the file verbs, HDF5 to HDF5. Its bound is the slowest of reading the input, running the graphs
and writing the output, each done alone on the same data.
"""

import copy
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.engines.backend import divided
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.kinds.base import Scale
from sdkit.runtime.measure.fresh_process import in_fresh_process
from sdkit.runtime.measure.machine import describe_machine
from sdkit.runtime.measure.operators import GraphProfile, profile_graphs
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.chunks import batches
from sdkit.runtime.storage.hdf5 import GrowingFile
from sdkit.runtime.storage.sequences import Indices, SequenceFile, SequenceMeta, SequenceWriter
from sdkit.runtime.storage.swap_file import SWAPPED
from sdkit.runtime.verbs.files import choose_batch_size

VERBS = ("encode", "swap", "generate")
STAGES = ("read", "compute", "write")
KEPT_BYTES = 64 << 20
"""Bytes of sequences that are read beforehand, for timing the graphs alone; they are used again and again."""
MOST_BYTES = 256 << 20
"""Bytes of sequences that are taken or drawn at most, where their number is chosen here."""
LEAST_BATCHES = 4
"""Least number of batches, where the number of sequences is chosen here: with fewer, stages hardly overlap."""
MOST_CALLS = 200
"""Largest number of timed encodes of one sequence."""


class Speed(msgspec.Struct, frozen=True):
    """A file verb and its bound. All rates are sequences written a second, medians over rounds that take turns."""

    sequences: int
    """Number of sequences written; a pair of a swap gives two."""
    elements: int
    """Number of elements of these sequences."""
    seconds: float
    sequences_a_second: float
    elements_a_second: float
    read: float | None
    """Rate of reading alone; None where nothing is read."""
    compute: float
    """Rate of the graphs alone, on arrays."""
    write: float
    """Rate of compressing and writing alone."""
    bound: float
    """The least of the three rates."""
    bounded_by: str
    """Name of the stage that sets the bound."""
    fraction: float
    """Rate of the verb divided by the bound."""


class Latency(msgspec.Struct, frozen=True):
    """Time of encoding one sequence, an array."""

    steps: int
    calls: int
    p50_ms: float
    p95_ms: float


class Memory(msgspec.Struct, frozen=True):
    """Peak MiB of RAM of a fresh process: once the graphs were open, and after the verb."""

    opened: float | None
    peak: float | None


class StartUp(msgspec.Struct, frozen=True):
    """Seconds of a fresh process, medians; `total` does not count the interpreter's own start."""

    interpreter: float
    import_runtime: float
    open_bundle: float
    first_encode: float
    total: float
    loaded: tuple[str, ...]
    """Those of torch, onnx and matplotlib, which ONNX graphs do not need, that were loaded."""


class Bench(msgspec.Struct, frozen=True):
    """All measurements, and the machine they were taken on."""

    machine: dict[str, Any]
    bundle: str
    data: str
    element: str
    steps: int
    backend: str
    device: str
    threads: int | None
    batch_size: int
    rounds: int
    verbs: dict[str, Speed]
    latency: Latency
    memory: dict[str, Memory]
    start_up: StartUp
    profile: tuple[GraphProfile, ...] | None = None


def bench(
    bundle: str | Path | None = None,
    data: str | Path | None = None,
    *,
    device: str = "auto",
    backend: GraphFormat = "onnx",
    threads: int | None = None,
    batch_size: int | None = None,
    count: int | None = None,
    rounds: int = 3,
    seconds: float = 2.0,
    profile: bool = False,
    compression: str = "gzip",
    folder: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Bench:
    """Measure encode, swap and generate of a bundle.

    Args:
        bundle, device, backend, threads, batch_size: as for `Runtime.open`.
        data: sequence file; random sequences of the bundle's element when None.
        count: number of sequences of a verb, or pairs of swap; as many as take about `seconds` when None.
        rounds: number of measurements of each part of a verb; the parts take turns, so that a machine whose speed
            drifts treats them alike.
        seconds: approximate duration of a verb.
        profile: measure the time by operator, too.
        compression: compression of the outputs.
        folder: folder for temporary files, on the disk to be measured; the system's when None.
        reporter: receives the progress.

    Raises:
        MissingFileError, FileFormatError, DataError: `data` cannot be used with this bundle.
        ConfigError: numbers out of range, or a profile of TorchScript.
        BundleError, DeviceError, MissingExtraError: as for `Runtime.open`.
    """
    if profile and backend != "onnx":
        raise ConfigError("--profile: only ONNX graphs have a profiler; leave --backend torchscript out")
    if (count is not None and count < 1) or rounds < 1 or seconds <= 0:
        raise ConfigError(f"count = {count}, rounds = {rounds}, seconds = {seconds}: all must be positive")
    machine = describe_machine()
    rt = Runtime.open(bundle, device=device, backend=backend, threads=threads, batch_size=batch_size)
    file = None if data is None else _fitting(rt, data)
    opening = {"device": rt.device, "backend": backend, "threads": threads, "batch_size": batch_size}
    with tempfile.TemporaryDirectory(prefix="sdkit-bench-", dir=folder) as temporary:
        work = _Work(rt, file, Path(temporary), compression, count, seconds, reporter or Quiet())
        speeds = {verb: work.speed(verb, rounds) for verb in VERBS}
        latency = work.latency(seconds)
        memory, start_up = work.fresh(opening, rounds)
        return Bench(
            machine=machine,
            bundle=str(rt.bundle.path),
            data="drawn" if data is None else str(data),
            element=rt.element.describe(),
            steps=work.steps,
            backend=rt.backend.name,
            device=rt.device,
            threads=threads,
            batch_size=work.size,
            rounds=rounds,
            verbs=speeds,
            latency=latency,
            memory=memory,
            start_up=start_up,
            profile=work.profile(threads) if profile else None,
        )


def draw(manifest: Manifest, count: int, steps: int, seed: int = 0) -> Array:
    """Return random sequences of a model's element, (B, T, *element), with the means and deviations of its features."""
    element, scale = manifest.element, None
    rng = np.random.Generator(np.random.Philox(key=[seed, count]))
    if manifest.feature_std:
        scale = Scale(*(np.asarray(v, np.float32) for v in (manifest.feature_mean, manifest.feature_std)))
    return element.traits.filler(rng, (count, steps, *element.shape), element.dtype, scale)


def _fitting(rt: Runtime, data: str | Path) -> SequenceFile:
    file = SequenceFile(data)
    file.require(rt.element)
    return file


class _Work:
    """The measurements on one file."""

    def __init__(
        self,
        rt: Runtime,
        file: SequenceFile | None,
        folder: Path,
        compression: str,
        count: int | None,
        seconds: float,
        reporter: Reporter,
    ) -> None:
        self.rt, self.folder, self.compression, self.reporter = rt, folder, compression, reporter
        self.steps = rt.manifest.steps if file is None else file.steps
        self.size = rt.batch_size
        if rt.chooses_batch_size:
            self.size = min(self.size, choose_batch_size(rt.element, rt.widths, self.steps, rt.device))
        if count is not None and file is not None and count > file.count:
            raise ConfigError(f"--count {count}: {file.path} holds {file.count} to take from")
        self.counts = {verb: count or self._count(verb, file, seconds) for verb in VERBS}
        self.counts["swap"] = min(self.counts["swap"], self.counts["encode"])
        self.file = self._drawn() if file is None else self._taken(file)
        self.lengths = self.file.lengths()
        self.kept = self._keep()

    def speed(self, verb: str, rounds: int) -> Speed:
        """Measure a file verb and its bound."""
        count = self.counts[verb]
        stages: dict[str, Callable[[], object]] = {
            "verb": lambda: self._run(verb),
            "compute": lambda: self._compute_all(verb, count),
            "write": self._writing(verb),
        }
        if verb != "generate":
            stages["read"] = lambda: self._read(verb)
        times: dict[str, list[float]] = {stage: [] for stage in stages}
        self.reporter.start(f"{verb}, {count} sequences: as a whole, and what bounds it", rounds * len(stages))
        try:
            for _ in range(rounds):
                for stage, work in stages.items():
                    began = time.perf_counter()
                    work()
                    times[stage].append(time.perf_counter() - began)
                    self.reporter.advance()
        finally:
            self.reporter.finish()
        written = (2 if verb == "swap" else 1) * count
        seconds = {stage: statistics.median(spent) for stage, spent in times.items()}
        rates = {stage: written / seconds[stage] for stage in STAGES if stage in seconds}
        slowest = min(rates, key=lambda stage: rates[stage])
        rate, elements = written / seconds["verb"], written // count * self._elements(verb)
        return Speed(
            sequences=written,
            elements=elements,
            seconds=seconds["verb"],
            sequences_a_second=rate,
            elements_a_second=elements / seconds["verb"],
            read=rates.get("read"),
            compute=rates["compute"],
            write=rates["write"],
            bound=rates[slowest],
            bounded_by=slowest,
            fraction=rate / rates[slowest],
        )

    def latency(self, seconds: float) -> Latency:
        """Measure an encode of one sequence, repeated for some time."""
        x = np.ascontiguousarray(self.kept[0][0][:1])
        for _ in range(3):
            self.rt.encode(x)
        times: list[float] = []
        self.reporter.start("encode of one sequence", MOST_CALLS)
        while len(times) < 3 or (len(times) < MOST_CALLS and sum(times) < seconds):
            began = time.perf_counter()
            self.rt.encode(x)
            times.append(time.perf_counter() - began)
            self.reporter.advance()
        self.reporter.finish()
        p50, p95 = 1e3 * np.percentile(times, (50, 95))
        return Latency(self.steps, len(times), float(p50), float(p95))

    def fresh(self, opening: dict[str, Any], rounds: int) -> tuple[dict[str, Memory], StartUp]:
        """Measure memory and start-up in separate processes."""
        bundle = str(self.rt.bundle.path)
        self.reporter.start("fresh processes: memory and start-up", len(VERBS) + rounds)
        try:
            memory = {}
            for verb in VERBS:
                arguments = {name: _plain(value) for name, value in self._arguments(verb).items()}
                found = in_fresh_process("verb", bundle=bundle, opening=opening, name=verb, arguments=arguments)
                memory[verb] = Memory(found["opened"], found["peak"])
                self.reporter.advance()
            starts = []
            for _ in range(rounds):
                starts.append(in_fresh_process("start", bundle=bundle, opening=opening))
                self.reporter.advance()
        finally:
            self.reporter.finish()
        loaded = tuple(sorted({name for start in starts for name in start.pop("loaded")}))
        medians = {name: statistics.median(start[name] for start in starts) for name in starts[0]}
        return memory, StartUp(**medians, loaded=loaded)

    def profile(self, threads: int | None) -> tuple[GraphProfile, ...]:
        """Return the time of each graph by operator, on a batch."""
        x = self.kept[0][0]
        self.reporter.start("profile of every graph", 1)
        try:
            found = profile_graphs(self.rt.bundle, x, device=self.rt.device, threads=threads)
            self.reporter.advance()
        finally:
            self.reporter.finish()
        return tuple(found)

    def _arguments(self, verb: str) -> dict[str, Any]:
        target = self.folder / f"{verb}.h5"
        common: dict[str, Any] = {"target": target, "compression": self.compression, "force": True}
        if verb == "encode":
            return {**common, "source": self.file.path}
        if verb == "swap":
            return {**common, "a": self.file.path, "b": self.file.path, "count": self.counts[verb]}
        return {**common, "count": self.counts[verb], "steps": self.steps}

    def _run(self, verb: str) -> None:
        getattr(self.rt, f"{verb}_file")(**self._arguments(verb))

    def _count(self, verb: str, file: SequenceFile | None, seconds: float) -> int:
        """Return how many sequences take about this many seconds, in whole batches, if there are so many."""
        x = draw(self.rt.manifest, self.size, self.steps)
        self._compute(self.rt, verb, x, None)  # sessions open and memory is allocated when a graph first runs
        began = time.perf_counter()
        self._compute(self.rt, verb, x, None)
        wanted = max(LEAST_BATCHES, round(seconds / (time.perf_counter() - began))) * self.size
        wanted = max(1, min(wanted, MOST_BYTES // (x.nbytes // len(x))))
        return wanted if file is None else min(wanted, file.count)

    def _drawn(self) -> SequenceFile:
        path = self.folder / "data.h5"
        with SequenceWriter(path, SequenceMeta(self.rt.element, source="chance values")) as writer:
            for number, size in enumerate(_sizes(self.counts["encode"], self.size)):
                writer.write(draw(self.rt.manifest, size, self.steps, number))
        return SequenceFile(path)

    def _taken(self, file: SequenceFile) -> SequenceFile:
        """Return a file of the first sequences, stored as they are in the whole file."""
        count = self.counts["encode"]
        if count == file.count:
            return file
        path = self.folder / "data.h5"
        with h5py.File(path, "w") as target:
            data, name = file.data, b"data"
            space, stored = h5py.h5s.create_simple((count, *data.shape[1:])), data.data.id
            h5py.h5d.create(target.id, name, stored.get_type(), space, stored.get_create_plist())
            for rows, x in file.batches(self.size, np.arange(count)):
                target["data"][rows[0] : rows[-1] + 1] = x
            if (lengths := file.lengths()) is not None:
                target["lengths"] = lengths[:count]
            target.attrs.update({**file.meta.attributes(), "classes": "{}"})
        return SequenceFile(path)

    def _keep(self) -> list[tuple[Array, Indices | None]]:
        kept: list[tuple[Array, Indices | None]] = []
        for index, x in self.file.batches(self.size, np.arange(self.counts["encode"])):
            kept.append((x, None if self.lengths is None else self.lengths[index]))
            if sum(x.nbytes for x, _ in kept) >= KEPT_BYTES:
                break
        return kept

    def _cycled(self, count: int) -> Iterator[tuple[Array, Indices | None]]:
        """Yield batches of `count` sequences in all, from those that are kept in memory."""
        number = 0
        while count > 0:
            x, lengths = self.kept[number % len(self.kept)]
            size = min(len(x), count)
            yield x[:size], None if lengths is None else lengths[:size]
            number, count = number + 1, count - size

    def _compute_all(self, verb: str, count: int) -> None:
        """Run the graphs on as many batches at a time as the file verbs do."""
        engine = copy.copy(self.rt)
        engine.backend, workers = divided(self.rt.backend)
        with ThreadPoolExecutor(workers) as pool:
            deque(pool.map(lambda kept: self._compute(engine, verb, *kept), self._cycled(count)), maxlen=0)

    def _compute(self, engine: Runtime, verb: str, x: Array, lengths: Indices | None) -> None:
        if verb == "generate":
            engine.generate(len(x), self.steps)
        elif lengths is None:
            engine.encode(x) if verb == "encode" else engine.swap(x, x)
        else:
            for _ in range(1 if verb == "encode" else 2):
                for steps in np.unique(lengths):
                    engine.encode(np.ascontiguousarray(x[lengths == steps, :steps]))
            # The decoder takes sequences of different lengths padded, so its time is that of sequences of T.
            for _ in range(0 if verb == "encode" else 2):
                engine.decode(self._blank(len(x)))

    def _blank(self, count: int) -> Codes:
        widths = self.rt.widths
        static = np.zeros((count, widths.static_size), np.float32)
        return Codes(static, np.zeros((count, self.steps, widths.dynamic_size), np.float32))

    def _read(self, verb: str) -> None:
        index = np.arange(self.counts[verb])
        for _ in zip(*(batches(self.file.data, index, self.size) for _ in range(1 + (verb == "swap"))), strict=True):
            pass

    def _writing(self, verb: str) -> Callable[[], None]:
        """Return a function that writes what the verb writes, from results computed once beforehand."""
        outputs: list[dict[str, Array]] = []
        for x, _ in self._cycled(min(self.counts[verb], sum(len(x) for x, _ in self.kept))):
            outputs.append(self._output(verb, x))
            if sum(array.nbytes for output in outputs for array in output.values()) >= KEPT_BYTES:
                break
        path = self.folder / "written.h5"

        def write() -> None:
            left, number = self.counts[verb], 0
            with GrowingFile(path, compression=self.compression, force=True) as writer:
                while left > 0:
                    output = outputs[number % len(outputs)]
                    size = min(left, len(next(iter(output.values()))))
                    writer.append(**{name: array[:size] for name, array in output.items()})
                    number, left = number + 1, left - size

        return write

    def _output(self, verb: str, x: Array) -> dict[str, Array]:
        rt = self.rt
        if verb == "encode":
            codes = rt.encode(x)
            return {"static": codes.static, "dynamic": codes.dynamic}
        if verb == "swap":
            return dict(zip(SWAPPED, (rt.element.cast(part) for part in rt.swap(x, x)), strict=True))
        return {"data": rt.element.cast(rt.generate(len(x), self.steps))}

    def _elements(self, verb: str) -> int:
        count = self.counts[verb]
        if self.lengths is None or verb == "generate":
            return count * self.steps
        return int(self.lengths[:count].sum())


def _sizes(count: int, size: int) -> Iterator[int]:
    for start in range(0, count, size):
        yield min(size, count - start)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
