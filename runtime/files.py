"""The verbs over HDF5 files: any number of sequences, read, computed and written batch by batch in bounded memory.

Outputs are whole or absent. Sequences of different lengths are computed at their own length, never padded.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sdkit.runtime.codes import CodeFile, code_attributes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.hdf5 import GrowingFile
from sdkit.runtime.output import check_output
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.sequences import Indices, SequenceFile, SequenceMeta, SequenceWriter
from sdkit.runtime.verbs import Codes, Floats, Verbs

Keep = Literal["static", "dynamic"]
SWAPPED = ("static_a_dynamic_b", "static_b_dynamic_a")
"""The two data sets of a swap file."""
SWAPPED_LENGTHS = tuple(f"{name}_lengths" for name in SWAPPED)
"""Their valid elements, where the sequences that gave the dynamic codes have lengths."""
SCALES = ("step", "bin_spacing")
"""Attributes of a sequence file that tell what a step and a bin are; what is decoded from it keeps them."""


class FileVerbs(Verbs):
    """Adds `*_file` verbs to the verbs on arrays.

    Common arguments: `split` takes `train`, `val`, `test` or all; `compression` is `gzip`, `lz4` or `none`; `force`
    replaces an existing output; `reporter` is told of the progress. Common errors: MissingFileError and FileFormatError
    for inputs, DataError for sequences that are not of the model's element, OutputExistsError for the output.
    """

    model_id = ""
    """SHA-256 of the weights, written into code files so that codes and models are not mixed up."""

    def encode_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        split: str | None = None,
        seed: int | None = None,
        compression: str = "gzip",
        force: bool = False,
        reporter: Reporter | None = None,
    ) -> Path:
        """Write the codes of a sequence file: `static` (N, S) and `dynamic` (N, T, D), with its labels and lengths.

        Steps beyond a sequence's length are 0. With a split, `source_indices` tells the rows of `source`.
        """
        file, index = self._sequences(source, split, target, force)
        with GrowingFile(target, compression=compression, force=force) as writer:
            writer.attributes(code_attributes(self.model_id, file.path.name, file.handle.attrs.get("classes")))
            for start, rows in self._progress("encoding", index, reporter):
                codes = self._encode_rows(file, rows, seed, start)
                writer.append(static=codes.static, dynamic=codes.dynamic)
            _copy_rows(file, index, writer, whole=split in (None, "all"))
        return Path(target)

    def decode_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        compression: str = "gzip",
        force: bool = False,
        reporter: Reporter | None = None,
    ) -> Path:
        """Write the sequences of a code file.

        Raises:
            DataError: codes of another model.
        """
        codes = CodeFile(source)
        if (codes.letters.static_size, codes.letters.dynamic_size) != (
            self.letters.static_size,
            self.letters.dynamic_size,
        ):
            raise DataError(
                f"{codes.path} holds codes with S = {codes.letters.static_size}, D = {codes.letters.dynamic_size}; "
                f"this model has S = {self.letters.static_size}, D = {self.letters.dynamic_size}"
            )
        if codes.model and self.model_id and codes.model != self.model_id:
            raise DataError(
                f"{codes.path} holds codes of another model (its weights differ); encode again with this one"
            )
        _check_target(target, codes.path, force)
        lengths = codes.lengths()
        meta = SequenceMeta(self.element, source=f"decoded from {codes.path.name}")
        with SequenceWriter(target, meta, compression=compression, force=force) as writer:
            for start, rows in self._progress("decoding", np.arange(codes.count), reporter):
                part = codes.read(slice(start, start + len(rows)))
                writer.write(self._cast(self.decode(part), None if lengths is None else lengths[rows]))
            if lengths is not None:
                writer.put("lengths", lengths)
        return Path(target)

    def reconstruct_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        split: str | None = None,
        compression: str = "gzip",
        force: bool = False,
        reporter: Reporter | None = None,
    ) -> Path:
        """Write decode(encode(x)) of a sequence file, with its labels and lengths."""
        return self._changed(
            "reconstructing", source, target, lambda codes, *_: codes, split, None, compression, force, reporter
        )

    def resample_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        keep: Keep,
        count: int | None = None,
        seed: int = 0,
        split: str | None = None,
        compression: str = "gzip",
        force: bool = False,
        reporter: Reporter | None = None,
    ) -> Path:
        """Write sequences that keep the static or the dynamic codes of a file and draw the others from the prior.

        Args:
            source: sequence file.
            target: sequence file to write.
            keep: `static` or `dynamic`.
            count: the first so many sequences only.
            seed: of the noise.

        Raises:
            ConfigError: another `keep`, or more sequences than there are.
        """
        if keep == "dynamic":

            def change(codes: Codes, first: int, lengths: Indices | None) -> Codes:
                return Codes(self._static(len(codes), seed, first), codes.dynamic)

        elif keep == "static":

            def change(codes: Codes, first: int, lengths: Indices | None) -> Codes:
                if lengths is None:
                    return Codes(codes.static, self._dynamic(len(codes), codes.dynamic.shape[1], seed, first))
                dynamic = np.zeros_like(codes.dynamic)
                for position, steps in _groups(lengths, each=True):
                    dynamic[position, :steps] = self._dynamic(1, steps, seed, first + int(position[0]))
                return Codes(codes.static, dynamic)

        else:
            raise ConfigError(f"unknown keep '{keep}'; choose static or dynamic")
        return self._changed("resampling", source, target, change, split, count, compression, force, reporter)

    def swap_file(
        self,
        a: str | Path,
        b: str | Path,
        target: str | Path,
        *,
        count: int | None = None,
        compression: str = "gzip",
        force: bool = False,
        reporter: Reporter | None = None,
    ) -> Path:
        """Write `static_a_dynamic_b` and `static_b_dynamic_a` of two files, paired by position, with their lengths.

        Args:
            a, b: sequence files with the same N, which may differ in T.
            target: the file to write.
            count: the first so many pairs only.

        Raises:
            DataError: different N and no `count`.
        """
        file_a, index_a = self._sequences(a, None, target, force)
        file_b, _ = self._sequences(b, None, target, force)
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
            extra=_scales(file_a),
        )
        lengths_a, lengths_b = file_a.lengths(), file_b.lengths()
        with GrowingFile(target, compression=compression, force=force) as writer:
            writer.attributes({**meta.attributes(), "format": "sdkit-swap"})
            for _, rows in self._progress("swapping", index_a[:count], reporter):
                codes_a, codes_b = self._encode_rows(file_a, rows), self._encode_rows(file_b, rows)
                ab = self.decode(Codes(codes_a.static, codes_b.dynamic))
                ba = self.decode(Codes(codes_b.static, codes_a.dynamic))
                mixed = (
                    self._cast(ab, None if lengths_b is None else lengths_b[rows]),
                    self._cast(ba, None if lengths_a is None else lengths_a[rows]),
                )
                writer.append(**dict(zip(SWAPPED, mixed, strict=True)))
            for name, lengths in zip(SWAPPED_LENGTHS, (lengths_b, lengths_a), strict=True):
                if lengths is not None:
                    writer.put(name, lengths[index_a[:count]])
        return Path(target)

    def generate_file(
        self,
        target: str | Path,
        *,
        count: int,
        steps: int,
        seed: int = 0,
        compression: str = "gzip",
        force: bool = False,
        reporter: Reporter | None = None,
    ) -> Path:
        """Write `count` sequences of `steps` elements drawn from the prior.

        Raises:
            ConfigError: count < 1 or steps < 2.
        """
        if count < 1 or steps < 2:
            raise ConfigError(f"cannot generate {count} sequences of {steps} steps: at least 1 sequence of at least 2")
        check_output(target, force=force)
        meta = SequenceMeta(self.element, source=f"generated with seed {seed}")
        with SequenceWriter(target, meta, compression=compression, force=force) as writer:
            for start, rows in self._progress("generating", np.arange(count), reporter):
                writer.write(self._cast(self.generate(len(rows), steps, seed=seed, first=start), None))
        return Path(target)

    def _changed(
        self,
        what: str,
        source: str | Path,
        target: str | Path,
        change: Callable[[Codes, int, Indices | None], Codes],
        split: str | None,
        count: int | None,
        compression: str,
        force: bool,
        reporter: Reporter | None,
    ) -> Path:
        file, index = self._sequences(source, split, target, force)
        if count is not None:
            _check_count(count, len(index), str(file.path))
            index = index[:count]
        lengths = file.lengths()
        meta = replace(file.meta, element=self.element, extra=_scales(file))
        with SequenceWriter(target, meta, compression=compression, force=force) as writer:
            for start, rows in self._progress(what, index, reporter):
                steps = None if lengths is None else lengths[rows]
                decoded = self.decode(change(self._encode_rows(file, rows), start, steps))
                writer.write(self._cast(decoded, steps))
            _copy_rows(file, index, writer, whole=len(index) == file.count)
        return Path(target)

    def _sequences(
        self, source: str | Path, split: str | None, target: str | Path, force: bool
    ) -> tuple[SequenceFile, Indices]:
        file = SequenceFile(source)
        mine, theirs = self.element, file.element
        if (theirs.kind, theirs.shape, theirs.dtype) != (mine.kind, mine.shape, mine.dtype):
            raise DataError(f"{file.path} holds {theirs.describe()}; the model takes {mine.describe()}")
        _check_target(target, file.path, force)
        index = file.select(split)
        if len(index) == 0:
            raise DataError(f"{file.path}: split '{split}' is empty")
        return file, index

    def _progress(self, what: str, index: Indices, reporter: Reporter | None) -> Any:
        reporter = reporter or Quiet()
        reporter.start(what, len(index))
        try:
            for start in range(0, len(index), self.batch_size):
                rows = index[start : start + self.batch_size]
                yield start, rows
                reporter.advance(len(rows))
        finally:
            reporter.finish()

    def _encode_rows(self, file: SequenceFile, rows: Indices, seed: int | None = None, first: int = 0) -> Codes:
        x, lengths = file.read(rows), file.lengths()
        if lengths is None:
            return self.encode(x, seed=seed, first=first)
        static = np.zeros((len(x), self.letters.static_size), np.float32)
        dynamic = np.zeros((len(x), x.shape[1], self.letters.dynamic_size), np.float32)
        # One call a sequence when samples are drawn, since noise is numbered by consecutive sequences.
        for position, steps in _groups(lengths[rows], each=seed is not None):
            codes = self.encode(np.ascontiguousarray(x[position, :steps]), seed=seed, first=first + int(position[0]))
            static[position], dynamic[position, :steps] = codes.static, codes.dynamic
        return Codes(static, dynamic)

    def _cast(self, x: Floats, lengths: Indices | None) -> Array:
        out = self.element.cast(x)
        if lengths is not None:
            out[np.arange(x.shape[1]) >= lengths[:, None]] = 0
        return out


def _groups(lengths: Indices, *, each: bool) -> list[tuple[Indices, int]]:
    if each:
        return [(np.array([i]), int(length)) for i, length in enumerate(lengths)]
    return [(np.flatnonzero(lengths == length), int(length)) for length in np.unique(lengths)]


def _scales(file: SequenceFile) -> dict[str, str]:
    return {name: str(file.handle.attrs[name]) for name in SCALES if name in file.handle.attrs}


def _copy_rows(file: SequenceFile, index: Indices, writer: GrowingFile, *, whole: bool) -> None:
    for name in ("labels", "lengths", "targets"):
        if name in file.handle:
            writer.put(name, np.asarray(file.handle[name][:])[index])
    if not whole:
        writer.put("source_indices", index)
        return
    for name in file.handle:
        if name.endswith("_indices") and name != "source_indices":
            writer.put(name, np.asarray(file.handle[name][:]))


def _check_target(target: str | Path, source: Path, force: bool) -> None:
    check_output(target, force=force)
    if Path(target).exists() and Path(target).samefile(source):
        raise ConfigError(f"{target} is both input and output; choose another output")


def _check_count(count: int, available: int, where: str) -> None:
    if not 1 <= count <= available:
        raise ConfigError(f"--count {count}: {where} holds {available} to take from")
