"""File verbs over graphs of numpy, which start at once; as a program, one that kills itself at a chosen moment.

    python -m tests.runtime.plain VERB FOLDER WHEN NUMBER [--resume]

works in FOLDER on `a.h5` and `b.h5`, and writes `out.h5`. WHEN tells where SIGKILL comes, at the NUMBERth time:
`unrecorded` after a chunk or data set was written and before its line, `torn` in the middle of a line, `computing`
in the computing thread, `whole` before the file takes its name, `named` before its leftovers go; `never` lets it end.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.contract import Ports
from sdkit.runtime.element import Array, Element
from sdkit.runtime.storage import hdf5, resume, stage
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter
from sdkit.runtime.verbs.files import FileVerbs

SERIES = Element("series", (4, 2), "float32", ("a", "b"))
CHUNK = 4096
"""Bytes of a chunk, few so that small files have many."""
COMPRESSION = {"encode": "gzip", "decode": "none", "reconstruct": "gzip", "swap": "lz4", "generate": "none"}


class NumpyBackend:
    """Five graphs that depend on all that they are given; S = 3, D = 2."""

    name, device = "numpy", "cpu"
    ports: Mapping[str, Ports] = MappingProxyType(
        {
            "encoder": Ports(("x",), ("features",)),
            "static": Ports(("features",), ("static_mean", "static_std", "context")),
            "dynamic": Ports(("features", "context"), ("dynamic_mean", "dynamic_std")),
            "decoder": Ports(("static", "dynamic"), ("x",)),
            "prior": Ports(("noise",), ("dynamic", "dynamic_mean")),
        }
    )

    def __init__(self) -> None:
        self.before: Callable[[str], None] = lambda graph: None

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.before(graph)
        assert tuple(inputs) == self.ports[graph].inputs
        if graph == "encoder":
            x = inputs["x"]
            return {"features": x.reshape(*x.shape[:2], -1)[..., :4].astype(np.float32)}
        if graph == "static":
            first = inputs["features"][:, 0, :3]
            return {"static_mean": first, "static_std": np.full_like(first, 0.5), "context": first}
        if graph == "dynamic":
            later = np.cumsum(inputs["features"][..., 2:], axis=1, dtype=np.float32)
            return {"dynamic_mean": later, "dynamic_std": np.full_like(later, 0.5)}
        if graph == "prior":
            return {"dynamic": 2 * inputs["noise"], "dynamic_mean": 0 * inputs["noise"]}
        static, dynamic = inputs["static"], inputs["dynamic"]
        parts = [np.repeat(static[:, None], dynamic.shape[1], 1), dynamic, dynamic**2, dynamic[..., :1]]
        return {"x": np.concatenate(parts, -1).reshape(*dynamic.shape[:2], *SERIES.shape)}


def plain_verbs(batch_size: int = 7) -> FileVerbs:
    """Return file verbs over numpy graphs."""
    verbs = FileVerbs(NumpyBackend(), SERIES, Widths(3, 2), batch_size=batch_size)
    verbs.model_id = "of numpy"
    return verbs


def write_plain(path: Path, count: int = 400, *, seed: int = 0, ragged: bool = False, **options: Any) -> Path:
    """Write a labelled file of random series."""
    rng = np.random.default_rng(seed)
    extra: dict[str, Array] = {"lengths": 2 + np.arange(count) % 4} if ragged else {}
    meta = SequenceMeta(SERIES, "made up", (Factor("sort", "static", ("x", "y")),))
    with SequenceWriter(path, meta, **options) as writer:
        writer.write(rng.random((count, 5, *SERIES.shape), np.float32), labels=rng.integers(0, 2, (count, 1)), **extra)
        writer.splits({"train": range(0, count, 2), "test": range(1, count, 2)})
    return path


def call(verbs: FileVerbs, verb: str, folder: Path, **options: Any) -> Path:
    """Run a verb on the files of a folder."""
    out = folder / "out.h5"
    options = {"compression": COMPRESSION[verb], **options}
    if verb == "swap":
        return verbs.swap_file(folder / "a.h5", folder / "b.h5", out, **options)
    if verb == "generate":
        return verbs.generate_file(out, count=400, steps=5, seed=3, **options)
    if verb == "decode":
        return verbs.decode_file(folder / "codes.h5", out, **options)
    if verb == "reconstruct":
        return verbs.reconstruct_file(folder / "a.h5", out, **options)
    return verbs.encode_file(folder / "a.h5", out, seed=3, **options)


def kill_at(when: str, number: int, verbs: FileVerbs) -> None:
    """Let this process kill itself at the given moment."""
    left = [number]

    def now() -> bool:
        left[0] -= 1
        return left[0] == 0

    def kill(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    record, publish, leave = resume.Partial.record, stage.Stage.publish, stage.Stage.leave

    def unrecorded(partial: resume.Partial, entry: Any) -> None:
        kill() if now() else record(partial, entry)

    def torn(partial: resume.Partial, entry: Any) -> None:
        if now():
            partial._journal.write(b'["Chunk", {"name": "sta')
            kill()
        record(partial, entry)

    def whole(folder: stage.Stage, made: Path, *, force: bool) -> None:
        kill() if now() else publish(folder, made, force=force)

    def named(folder: stage.Stage, *, keep: bool = False) -> None:
        kill() if now() else leave(folder, keep=keep)

    if when in ("unrecorded", "torn"):
        resume.Partial.record = {"unrecorded": unrecorded, "torn": torn}[when]  # type: ignore[method-assign, assignment]
    elif when == "computing":
        verbs.backend.before = lambda graph: kill() if now() else None  # type: ignore[attr-defined]
    elif when == "whole":
        stage.Stage.publish = whole  # type: ignore[method-assign, assignment]
    elif when == "named":
        stage.Stage.leave = named  # type: ignore[method-assign, assignment]
    else:
        assert when == "never"


if __name__ == "__main__":
    hdf5.CHUNK_BYTES = CHUNK
    what, place, moment, times, *rest = sys.argv[1:]
    plain = plain_verbs()
    kill_at(moment, int(times), plain)
    call(plain, what, Path(place), resume="--resume" in rest)
