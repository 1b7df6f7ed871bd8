"""Work on an output that survives a kill at any moment and can be resumed.

Beside the output NAME lies the folder `.NAME.part` while work goes on:

    state.json     what is computed, from which inputs, with which model and settings
    K.h5           the output so far; K begins at 1 and grows by one each time that work is resumed
    K.journal      a line for each data set made and each chunk written: where its bytes lie in K.h5, and their CRC
    lock           held by the process that works

HDF5 keeps its index of chunks in memory, so that a killed K.h5 may not open. It need not: the journal says where the
chunks lie, and they are copied, byte for byte and in their order, into a new file that then grows on. That file gets
the same calls as one that was never interrupted, and so ends in the same bytes. A line is written after its chunk; a
torn last line, or one whose bytes do not match its CRC, ends the journal.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any

from sdkit.runtime.errors import ConfigError, option
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import check_output
from sdkit.runtime.storage.stage import Stage, unwritable, writing


@dataclass(frozen=True)
class Made:
    """Journal entry: a data set was created, with rows of this shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Chunk:
    """Journal entry: the next chunk of a data set was written."""

    name: str
    mask: int
    """HDF5's filter mask."""
    offset: int
    """Position of the chunk's bytes in the file."""
    size: int
    crc: int


Settings = Mapping[str, str | int | None]


def fingerprint(path: str | Path) -> str:
    """Return what distinguishes an input file from a changed one: path, size and time of change."""
    path = Path(path).resolve()
    stat = path.stat()
    return f"{path} ({stat.st_size} bytes, changed at {stat.st_mtime_ns} ns)"


class Partial:
    """An output file in the making that a later process can resume.

    A context manager that yields the path to write to; that file takes the output's name when the block ends without
    error. After an error, Ctrl-C included, all is removed, or kept if `resume` is set.

    Args:
        path: path of the output.
        settings: everything that the output's bytes depend on.
        force: replace an existing output.
        resume: continue what an interrupted run left, and keep what this one leaves.
        reporter: receives notes on what became of an earlier run's leftovers.

    Raises:
        OutputExistsError, MissingFileError: on entry, as `check_output`; the former also if the output appeared
            meanwhile.
        ConfigError: on entry, other settings than those of the run to resume.
        BusyError: on entry, another process is writing the same output.
        WriteError: no room, no permission, a limit on the size of files.
    """

    def __init__(
        self,
        path: str | Path,
        settings: Settings,
        *,
        force: bool = False,
        resume: bool = False,
        reporter: Reporter | None = None,
    ) -> None:
        self.path = Path(path)
        self._stage = Stage(self.path)
        self.folder = self._stage.folder
        self._settings = dict(settings)
        self._force, self._resume, self._reporter = force, resume, reporter or Quiet()
        self._earlier: Path | None = None

    def __enter__(self) -> Path:
        check_output(self.path, force=self._force, folder=False)
        left = self._stage.enter()
        try:
            with writing(self.path):
                self._begin(left)
        except BaseException:
            self._stage.leave(keep=left)
            raise
        return self._data

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()
        keep = self._resume and (self._earlier is not None or self._size() > 0)
        try:
            if error is None:
                self._stage.publish(self._data, force=self._force)
                keep = False
            else:
                found = unwritable(self.path, error)
                if found is not None:
                    kept = f"; what is done is kept, and {option('resume')} continues it" if keep else ""
                    raise type(found)(f"{found}{kept}") from error
        finally:
            self._stage.leave(keep=keep)

    def earlier(self) -> Iterator[Made | tuple[Chunk, bytes]]:
        """Yield what the interrupted run wrote, in order, chunks with their bytes, as far as it is intact."""
        if self._earlier is None:
            return
        with self._earlier.with_suffix(".h5").open("rb") as data, self._earlier.open("rb") as journal:
            for entry in _entries(journal):
                if isinstance(entry, Made):
                    yield entry
                    continue
                data.seek(entry.offset)
                raw = data.read(entry.size)
                if zlib.crc32(raw) != entry.crc:
                    return
                yield entry, raw

    def taken_over(self) -> None:
        """Remove the earlier file, since the new one holds its contents now."""
        for file in self.folder.glob("[0-9]*.*"):
            if file.stem != self._data.stem:
                file.unlink()
        self._earlier = None

    def record(self, entry: Made | Chunk) -> None:
        """Add a line to the journal."""
        line = json.dumps([type(entry).__name__, asdict(entry)]).encode()
        self._journal.write(line + b"\n")  # unbuffered: the system has the line when this returns

    def _begin(self, left: bool) -> None:
        journals = [file for file in self.folder.glob("[0-9]*.journal") if file.with_suffix(".h5").is_file()]
        if left and self._resume and journals:
            self._check_settings()
            # Killed while resuming, a run leaves two files; both begin alike, and the longer one holds more.
            self._earlier = max(journals, key=lambda file: file.stat().st_size)
        else:
            self._start_anew(left, bool(journals))
        number = 1 + max((int(file.stem) for file in journals), default=0)
        self._data = self.folder / f"{number}.h5"
        self._journal = self._data.with_suffix(".journal").open("wb", buffering=0)

    def _start_anew(self, left: bool, journals: bool) -> None:
        if self._resume:
            self._reporter.note(f"no interrupted run of {self.path} to resume; it starts at the beginning")
        elif left and journals:
            self._reporter.note(
                f"what an interrupted run of {self.path} left is replaced; {option('resume')} would continue it"
            )
        self._stage.clear()
        # Complete before it has its name, like all outputs here.
        state = self.folder / "state.json"
        state.with_suffix(".new").write_text(json.dumps(self._settings, indent=2) + "\n")
        state.with_suffix(".new").replace(state)

    def _check_settings(self) -> None:
        try:
            before = json.loads((self.folder / "state.json").read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.folder} does not say what it was to become; leave {option('resume')} out to start {self.path} "
                "anew"
            ) from error
        for name in {**before, **self._settings}:
            old, new = before.get(name), self._settings.get(name)
            if old != new:
                raise ConfigError(
                    f"{self.path} cannot be resumed: {name} was {_text(old)} and is now {_text(new)}; "
                    f"give what was given before, or leave {option('resume')} out to start anew"
                )

    def _size(self) -> int:
        return self._data.with_suffix(".journal").stat().st_size


def _entries(journal: BufferedReader) -> Iterator[Made | Chunk]:
    for line in journal:
        if not line.endswith(b"\n"):
            return
        try:
            kind, fields = json.loads(line)
            yield Made(**{**fields, "shape": tuple(fields["shape"])}) if kind == "Made" else Chunk(**fields)
        except (ValueError, TypeError, KeyError):
            return


def _text(value: Any) -> str:
    return "not given" if value is None else str(value)
