"""A file verb as a job: batches are read, computed and written at the same time, and an interrupted job goes on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypedDict, TypeVar

from sdkit.runtime.element import Array
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.hdf5 import GrowingFile
from sdkit.runtime.storage.pipeline import ALIVE, pipelined
from sdkit.runtime.storage.resume import Partial
from sdkit.runtime.storage.sequences import Indices

Engine = TypeVar("Engine")


class Writing(TypedDict, total=False):
    """Keywords that every file verb takes."""

    compression: str
    """`gzip` (the default), `lz4` or `none`."""
    force: bool
    """Whether an existing output is replaced."""
    resume: bool
    """Whether a run of the same verb, inputs, model and settings that was interrupted is taken up; what is done is kept
    if this run is interrupted too."""
    reporter: Reporter | None
    """Receives progress and notes."""


@dataclass(frozen=True)
class Options:
    """The same with their defaults; an unknown keyword is a TypeError."""

    compression: str = "gzip"
    force: bool = False
    resume: bool = False
    reporter: Reporter | None = None


@dataclass(frozen=True)
class Batch:
    """Sequences that run together."""

    start: int
    """Number of the batch's first sequence within the work."""
    rows: Indices
    """Rows of its sequences in the input."""
    arrays: tuple[Array, ...]
    """Arrays that were read of these sequences."""


Read = Callable[[Indices], Iterable[tuple[Array, ...]]]
"""Function that yields the inputs of the sequences of an index, batch by batch."""
Arrays = dict[str, Array]
"""Arrays to write for a batch, by data set."""


@dataclass(frozen=True)
class Job(Generic[Engine]):
    """One run of a verb over files."""

    engine: Engine
    """Model whose verbs compute, on `workers` threads."""
    workers: int
    target: Path
    settings: dict[str, str | int | None]
    """All that the output depends on; a resumed run must have the same."""
    size: int
    """Number of sequences of a batch."""
    options: Options

    @property
    def reporter(self) -> Reporter:
        """Receives progress and notes."""
        return self.options.reporter or Quiet()

    @property
    def alive(self) -> int:
        """Number of batches of inputs: those at work, one waiting, one being read."""
        return ALIVE - 1 + self.workers

    def partial(self) -> Partial:
        """Return what an interrupted run leaves, and takes up."""
        options = self.options
        return Partial(self.target, self.settings, force=options.force, resume=options.resume, reporter=self.reporter)

    def run(
        self,
        what: str,
        index: Indices,
        read: Read,
        work: Callable[[Batch], Arrays],
        writer: GrowingFile,
        write: Callable[..., None],
    ) -> None:
        """Read, compute and write the sequences of an index that no interrupted run has written yet."""
        start = writer.restore(self.size)
        if start:
            self.reporter.note(f"{self.target} goes on at sequence {start} of {len(index)}")
        self.reporter.start(what, len(index))
        try:
            if start:
                self.reporter.advance(start)
            reading = self._batches(index, start, read)
            with pipelined(reading, work, alive=self.alive, workers=self.workers) as results:
                for arrays in results:
                    write(**arrays)
                    del arrays  # else it would stay alive while the next is waited for
                    count = min(self.size, len(index) - start)
                    start += count
                    self.reporter.advance(count)
        finally:
            self.reporter.finish()

    def _batches(self, index: Indices, start: int, read: Read) -> Iterator[Batch]:
        starts = range(start, len(index), self.size)
        for first, arrays in zip(starts, read(index[start:]), strict=False):
            yield Batch(first, index[first : first + self.size], arrays)
