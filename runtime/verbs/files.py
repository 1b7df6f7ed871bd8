"""The verbs over HDF5 files: any number of sequences, read, computed and written at the same time in bounded memory.

Outputs are complete or absent, and a run that was killed can be resumed. Sequences of different lengths are
computed at their own length, never padded.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.codes import Codes, Floats
from sdkit.runtime.element import Array, Element
from sdkit.runtime.engines.backend import divided
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.storage.chunks import batches
from sdkit.runtime.storage.code_file import CodeFile, code_attributes
from sdkit.runtime.storage.deflate import LIBRARY
from sdkit.runtime.storage.hdf5 import GrowingFile
from sdkit.runtime.storage.output import check_output
from sdkit.runtime.storage.resume import fingerprint
from sdkit.runtime.storage.rows import SOURCE_INDICES, RowsFile
from sdkit.runtime.storage.sequences import Indices, SequenceFile, SequenceMeta, SequenceWriter
from sdkit.runtime.storage.swap_file import FORMAT as SWAP_FORMAT
from sdkit.runtime.storage.swap_file import SWAPPED, SWAPPED_LENGTHS
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.runtime.verbs.jobs import Arrays, Batch, Job, Options, Read, Writing
from sdkit.runtime.version import __version__

Keep = Literal["static", "dynamic"]
SCALES = ("step", "bin_spacing", "sample_rate", "window")
"""Attributes of a sequence file that describe a step and a bin; codes and files decoded from them keep them."""
TARGETS = ("target_names", "target_units")
"""Attributes that describe targets; files that keep the targets keep them."""


BATCH_BYTES = {"cpu": 4 << 20, "cuda": 128 << 20}
"""Bytes of the float32 elements of a batch whose size is chosen here: enough to keep a GPU busy, few enough for a CPU's
caches to hold what one layer passes to the next."""
BATCH_MOST = 1024


def choose_batch_size(element: Element, widths: Widths, steps: int, device: str) -> int:
    """Return how many sequences should run at a time: a power of two from 1 to 1024.

    Args:
        element: element of the model; large elements mean few sequences.
        widths: widths of the model; where its features are wider than an element, they count instead.
        steps: number of elements of a sequence, T.
        device: `cpu` or `cuda:N`.
    """
    values = steps * max(int(np.prod(element.shape)), widths.features + widths.context)
    fitting = BATCH_BYTES[device.partition(":")[0]] // (4 * values)
    return min(BATCH_MOST, 1 << max(0, fitting.bit_length() - 1))


class FileVerbs(Verbs):
    """Adds `*_file` verbs to the verbs on arrays.

    Common arguments: `split` takes `train`, `val`, `test` or all; `**how` are those of `Writing`. Common errors:
    MissingFileError and FileFormatError for inputs, DataError for sequences that are not of the model's element,
    OutputExistsError for the output, ConfigError for an interrupted run that had other settings.

    Memory: a few batches of inputs and of outputs (`runtime.storage.pipeline`), and chunks of both
    (`runtime.storage.chunks`, `runtime.storage.hdf5`), whatever the size of the files.
    """

    model_id = ""
    """SHA-256 of the weights, written into code files so that codes and models are not mixed up."""
    data_licence = ""
    """Licence of the training data, which what the model generates states too."""
    chooses_batch_size = False
    """Whether `batch_size` was chosen for the T of training, so that files of longer sequences may take less."""

    def encode_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        split: str | None = None,
        seed: int | None = None,
        **how: Unpack[Writing],
    ) -> Path:
        """Write the codes of a sequence file: `static` (N, S) and `dynamic` (N, T, D), with its labels and lengths.

        Steps beyond a sequence's length are 0. With a split, `source_indices` holds the rows of `source`.

        >>> rt.encode_file("puppets.h5", "codes.h5").name
        'codes.h5'
        """
        self.abilities.require("encode")
        file, index = self._sequences(source, split, target, how)
        job = self._job("encode", target, (file.path,), file.steps, how)
        job.settings.update({"split": split or "all", "seed": seed})
        lengths, kept = file.lengths(), _rows(file, index, whole=split in (None, "all"))

        def work(batch: Batch) -> Arrays:
            codes = job.engine._encode_batch(batch.arrays[0], _steps(lengths, batch), seed, batch.start)
            return {"static": codes.static, "dynamic": codes.dynamic}

        with GrowingFile(target, compression=job.options.compression, partial=job.partial()) as writer:
            writer.attributes(code_attributes(self.model_id, file.path.name, file.text("classes")))
            writer.attributes(_said(file))
            job.run("encoding", index, _reader(job, file), work, writer, writer.append)
            _put(kept, writer)
        return Path(target)

    def decode_file(
        self,
        source: str | Path,
        target: str | Path,
        **how: Unpack[Writing],
    ) -> Path:
        """Write the sequences of a code file, with its labels and lengths.

        Raises:
            DataError: codes of another model, or sequences instead of codes.

        >>> codes = rt.encode_file("puppets.h5", "codes.h5", force=True)
        >>> rt.decode_file(codes, "decoded.h5").name
        'decoded.h5'
        """
        self.abilities.require("decode")
        codes = CodeFile(source)
        if (codes.widths.static_size, codes.widths.dynamic_size) != (
            self.widths.static_size,
            self.widths.dynamic_size,
        ):
            raise DataError(
                f"{codes.path} holds codes with S = {codes.widths.static_size}, D = {codes.widths.dynamic_size}; "
                f"this model has S = {self.widths.static_size}, D = {self.widths.dynamic_size}"
            )
        if codes.model and self.model_id and codes.model != self.model_id:
            raise DataError(
                f"{codes.path} holds codes of another model (its weights differ); encode again with this one"
            )
        _check_target(target, codes.path, how)
        lengths, kept = codes.lengths(), {**_parts(codes), **codes.indices()}
        meta = SequenceMeta(
            self.element, source=f"decoded from {codes.path.name}", extra={**_said(codes), **_classes(codes)}
        )
        job = self._job("decode", target, (codes.path,), codes.steps, how)

        def work(batch: Batch) -> Arrays:
            static, dynamic = batch.arrays
            return {"x": self._cast(job.engine.decode(Codes(static, dynamic)), _steps(lengths, batch))}

        def read(rest: Indices) -> Iterable[tuple[Array, ...]]:
            return codes.batches(rest, job.size, alive=job.alive)

        with SequenceWriter(target, meta, compression=job.options.compression, partial=job.partial()) as writer:
            job.run("decoding", np.arange(codes.count), read, work, writer, writer.write)
            _put(kept, writer)
        return Path(target)

    def reconstruct_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        split: str | None = None,
        **how: Unpack[Writing],
    ) -> Path:
        """Write decode(encode(x)) of a sequence file, with its labels and lengths.

        >>> rt.reconstruct_file("puppets.h5", "there-and-back.h5", split="test").name
        'there-and-back.h5'
        """
        self.abilities.require("reconstruct")
        file, index = self._sequences(source, split, target, how)
        job = self._job("reconstruct", target, (file.path,), file.steps, how)
        job.settings["split"] = split or "all"
        return self._changed("reconstructing", file, index, lambda codes, *_: codes, job)

    def resample_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        keep: Keep,
        count: int | None = None,
        seed: int = 0,
        split: str | None = None,
        **how: Unpack[Writing],
    ) -> Path:
        """Write sequences that keep the static or the dynamic codes of a file and draw the others from the prior.

        Args:
            source: sequence file.
            target: sequence file to write.
            keep: `static` or `dynamic`.
            count: number of sequences, the first of the file; all when None.
            seed: seed of the noise.

        Raises:
            ConfigError: another `keep`, or more sequences than there are.

        >>> rt.resample_file("puppets.h5", "new-motions.h5", keep="static", count=4).name
        'new-motions.h5'
        """
        if keep in ("static", "dynamic"):
            self.abilities.require("resample_dynamic" if keep == "static" else "resample_static")
        if keep == "dynamic":

            def change(codes: Codes, first: int, lengths: Indices | None) -> Codes:
                return Codes(job.engine.draw_static(len(codes), seed, first), codes.dynamic)

        elif keep == "static":

            def change(codes: Codes, first: int, lengths: Indices | None) -> Codes:
                if lengths is None:
                    return Codes(codes.static, job.engine.draw_dynamic(len(codes), codes.dynamic.shape[1], seed, first))
                dynamic = np.zeros_like(codes.dynamic)
                for position, steps in _groups(lengths, each=True):
                    dynamic[position, :steps] = job.engine.draw_dynamic(1, steps, seed, first + int(position[0]))
                return Codes(codes.static, dynamic)

        else:
            raise ConfigError(f"unknown keep '{keep}'; choose static or dynamic")
        file, index = self._sequences(source, split, target, how)
        if count is not None:
            _check_count(count, len(index), str(file.path))
            index = index[:count]
        if keep == "static":
            lengths = file.lengths()
            self.abilities.require_steps(file.steps if lengths is None else int(lengths[index].max()))
        job = self._job("resample", target, (file.path,), file.steps, how)
        job.settings.update({"split": split or "all", "keep": keep, "count": len(index), "seed": seed})
        job.settings["static_prior"] = self.static_prior
        return self._changed("resampling", file, index, change, job)

    def swap_file(
        self,
        a: str | Path,
        b: str | Path,
        target: str | Path,
        *,
        count: int | None = None,
        **how: Unpack[Writing],
    ) -> Path:
        """Write `static_a_dynamic_b` and `static_b_dynamic_a` of two files, paired by position, with their lengths.

        Args:
            a, b: sequence files with the same N, which may differ in T.
            target: the file to write.
            count: number of pairs, the first of the files; all when None.

        Raises:
            DataError: different N and no `count`.

        >>> rt.swap_file("puppets.h5", "puppets.h5", "swap.h5", count=4).name
        'swap.h5'
        """
        self.abilities.require("swap")
        file_a, index_a = self._sequences(a, None, target, how)
        file_b, _ = self._sequences(b, None, target, how)
        if count is None and file_a.count != file_b.count:
            raise DataError(
                f"swap pairs sequences one to one; {file_a.path} has {file_a.count}, {file_b.path} has {file_b.count}; "
                f"--count {min(file_a.count, file_b.count)} takes the first of each"
            )
        count = file_a.count if count is None else count
        _check_count(count, min(file_a.count, file_b.count), f"{file_a.path} and {file_b.path}")
        meta = SequenceMeta(
            self.element,
            rate=file_a.meta.rate if file_a.meta.rate == file_b.meta.rate else None,
            source=f"swapped: a = {file_a.path.name}, b = {file_b.path.name}",
            licence="; ".join(dict.fromkeys(filter(None, (file_a.meta.licence, file_b.meta.licence)))),
            extra=_scales(file_a),
        )
        lengths_a, lengths_b = file_a.lengths(), file_b.lengths()
        index, paths = index_a[:count], (file_a.path, file_b.path)
        job = self._job("swap", target, paths, max(file_a.steps, file_b.steps), how)
        job.settings["count"] = count

        def work(batch: Batch) -> Arrays:
            steps_a, steps_b = _steps(lengths_a, batch), _steps(lengths_b, batch)
            codes_a, codes_b = (
                job.engine._encode_batch(x, steps) for x, steps in zip(batch.arrays, (steps_a, steps_b), strict=True)
            )
            ab = self._cast(job.engine.decode(Codes(codes_a.static, codes_b.dynamic)), steps_b)
            ba = self._cast(job.engine.decode(Codes(codes_b.static, codes_a.dynamic)), steps_a)
            return dict(zip(SWAPPED, (ab, ba), strict=True))

        with GrowingFile(target, compression=job.options.compression, partial=job.partial()) as writer:
            writer.attributes({**meta.attributes(), "format": SWAP_FORMAT})
            job.run("swapping", index, _reader(job, file_a, file_b), work, writer, writer.append)
            for name, lengths in zip(SWAPPED_LENGTHS, (lengths_b, lengths_a), strict=True):
                if lengths is not None:
                    writer.put(name, lengths[index])
        return Path(target)

    def generate_file(
        self,
        target: str | Path,
        *,
        count: int,
        steps: int,
        seed: int = 0,
        **how: Unpack[Writing],
    ) -> Path:
        """Write `count` sequences of `steps` elements drawn from the prior.

        Raises:
            ConfigError: count < 1 or steps < 2.

        >>> rt.generate_file("generated.h5", count=4, steps=6, seed=1).name
        'generated.h5'
        """
        self.abilities.require("generate")
        if count < 1 or steps < 2:
            raise ConfigError(f"cannot generate {count} sequences of {steps} steps: at least 1 sequence of at least 2")
        self.abilities.require_steps(steps)
        meta = SequenceMeta(self.element, source=f"generated with seed {seed}", licence=self.data_licence)
        job = self._job("generate", target, (), steps, how)
        job.settings.update({"count": count, "steps": steps, "seed": seed, "static_prior": self.static_prior})

        def work(batch: Batch) -> Arrays:
            clips = job.engine.generate(len(batch.rows), steps, seed=seed, first=batch.start)
            return {"x": self._cast(clips, None)}

        with SequenceWriter(target, meta, compression=job.options.compression, partial=job.partial()) as writer:
            job.run("generating", np.arange(count), lambda rest: repeat(()), work, writer, writer.write)
        return Path(target)

    def _changed(
        self,
        what: str,
        file: SequenceFile,
        index: Indices,
        change: Callable[[Codes, int, Indices | None], Codes],
        job: Job["FileVerbs"],
    ) -> Path:
        lengths, kept = file.lengths(), _rows(file, index, whole=len(index) == file.count)
        meta = replace(file.meta, element=self.element, extra=_scales(file, (*SCALES, *TARGETS)))

        def work(batch: Batch) -> Arrays:
            steps = _steps(lengths, batch)
            codes = change(job.engine._encode_batch(batch.arrays[0], steps), batch.start, steps)
            return {"x": self._cast(job.engine.decode(codes), steps)}

        with SequenceWriter(job.target, meta, compression=job.options.compression, partial=job.partial()) as writer:
            job.run(what, index, _reader(job, file), work, writer, writer.write)
            _put(kept, writer)
        return job.target

    def _sequences(
        self, source: str | Path, split: str | None, target: str | Path, how: Writing
    ) -> tuple[SequenceFile, Indices]:
        file = SequenceFile(source)
        file.require(self.element)
        _check_target(target, file.path, how)
        index = file.select(split)
        if len(index) == 0:
            raise DataError(f"{file.path}: split '{split}' is empty")
        return file, index

    def _job(
        self,
        verb: str,
        target: str | Path,
        inputs: tuple[Path, ...],
        steps: int,
        how: Writing,
    ) -> Job["FileVerbs"]:
        writing = Options(**how)
        size = self.batch_size
        if self.chooses_batch_size:
            size = min(size, choose_batch_size(self.element, self.widths, steps, self.device))
        settings: dict[str, str | int | None] = {
            "verb": verb,
            **{f"input {number}": fingerprint(path) for number, path in enumerate(inputs, 1)},
            "model": self.model_id,
            "backend": self.backend.name,
            "device": self.device,
            "batch size": size,
            "compression": writing.compression,
            **({"library of gzip": LIBRARY} if writing.compression == "gzip" else {}),
            "version of sdkit": __version__,
        }
        engine = copy.copy(self)
        engine.backend, workers = divided(self.backend)
        return Job(engine, workers, Path(target), settings, size, writing)

    def _encode_batch(self, x: Array, lengths: Indices | None, seed: int | None = None, first: int = 0) -> Codes:
        if lengths is None:
            return self.encode(x, seed=seed, first=first)
        static = np.zeros((len(x), self.widths.static_size), np.float32)
        dynamic = np.zeros((len(x), x.shape[1], self.widths.dynamic_size), np.float32)
        # One call for each sequence when samples are drawn, since noise is numbered by consecutive sequences.
        for position, steps in _groups(lengths, each=seed is not None):
            codes = self.encode(np.ascontiguousarray(x[position, :steps]), seed=seed, first=first + int(position[0]))
            static[position], dynamic[position, :steps] = codes.static, codes.dynamic
        return Codes(static, dynamic)

    def _cast(self, x: Floats, lengths: Indices | None) -> Array:
        out = self.element.cast(x)
        if lengths is not None:
            out[np.arange(x.shape[1]) >= lengths[:, None]] = 0
        return out


def _reader(job: Job["FileVerbs"], *files: SequenceFile) -> Read:
    def sequences(file: SequenceFile, index: Indices) -> Iterator[Array]:
        for x in batches(file.data, index, job.size, alive=job.alive):
            yield file.element.check(x, f"{file.path}: data set 'data'")

    return lambda index: zip(*(sequences(file, index) for file in files), strict=True)


def _steps(lengths: Indices | None, batch: Batch) -> Indices | None:
    return None if lengths is None else lengths[batch.rows]


def _groups(lengths: Indices, *, each: bool) -> list[tuple[Indices, int]]:
    if each:
        return [(np.array([i]), int(length)) for i, length in enumerate(lengths)]
    return [(np.flatnonzero(lengths == length), int(length)) for length in np.unique(lengths)]


def _scales(file: RowsFile, names: tuple[str, ...] = SCALES) -> dict[str, str]:
    return {name: str(value) for name, value in file.stated(*names).items()}


def _said(file: RowsFile) -> dict[str, Any]:
    """Return the attributes that go from sequences to their codes, and from codes to what is decoded from them."""
    rate = file.rate()
    return {**_scales(file, (*SCALES, *TARGETS, "licence")), **({} if rate is None else {"rate": rate})}


def _classes(codes: CodeFile) -> dict[str, str]:
    text = codes.text("classes")
    return {"classes": text} if text else {}


def _parts(file: RowsFile) -> dict[str, Array]:
    """Return the data sets with one row a sequence that are copied from file to file."""
    found = {"labels": file.labels(), "lengths": file.lengths(), "targets": file.targets()}
    return {name: array for name, array in found.items() if array is not None}


def _rows(file: SequenceFile, index: Indices, *, whole: bool) -> dict[str, Array]:
    """Return what goes with the sequences of an index into a file made of them; read before work on them starts."""
    kept = {name: array[index] for name, array in _parts(file).items()}
    if not whole:
        return {**kept, SOURCE_INDICES: index}
    return {**kept, **{name: rows for name, rows in file.indices().items() if name != SOURCE_INDICES}}


def _put(arrays: dict[str, Array], writer: GrowingFile) -> None:
    for name, array in arrays.items():
        writer.put(name, array)


def _check_target(target: str | Path, source: Path, how: Writing) -> None:
    check_output(target, force=Options(**how).force, folder=False)
    if Path(target).exists() and Path(target).samefile(source):
        raise ConfigError(f"{target} is both input and output; choose another output")


def _check_count(count: int, available: int, where: str) -> None:
    if not 1 <= count <= available:
        raise ConfigError(f"--count {count}: {where} holds {available} to take from")
