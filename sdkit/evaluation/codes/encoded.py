"""Codes of a labelled file, split by split, in the form that predictors, probes and verification take."""

from dataclasses import dataclass, replace

import numpy as np

from sdkit.evaluation.base import Case
from sdkit.evaluation.data import Parts, label_column, targets_of
from sdkit.evaluation.downstream.baselines import Series
from sdkit.evaluation.downstream.splits import Split
from sdkit.evaluation.stage import stage
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Factor, Indices, SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.data import equal_lengths

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Coded:
    """Codes of the three parts of a file.

    Each part is a `Split` with the file's lengths; `asking` and `with_targets` add labels and targets.
    """

    file: SequenceFile
    parts: Parts
    splits: tuple[Split, Split, Split]

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Labelled factors of the file."""
        return self.file.factors

    def asking(self, factor: str) -> tuple[Split, Split, Split]:
        """Return the parts with a factor's labels.

        Raises:
            ConfigError: the file has no such factor.
        """
        labels = self.labels(factor)
        train, val, test = (replace(s, labels=y) for s, y in zip(self.splits, labels, strict=True))
        return train, val, test

    def with_targets(self) -> tuple[Split, Split, Split]:
        """Return the parts with their targets (N, T, K).

        Raises:
            DataError: the file has none.
        """
        targets = targets_of(self.file)
        train, val, test = (replace(s, targets=targets[i]) for s, i in zip(self.splits, self.parts, strict=True))
        return train, val, test

    def labels(self, factor: str) -> tuple[Indices, Indices, Indices]:
        """Return the labels (N,) of a factor in each part.

        Raises:
            ConfigError: the file has no such factor.
        """
        column = label_column(self.file, factor)
        return column[self.parts.train], column[self.parts.val], column[self.parts.test]


def encode_file(
    verbs: Verbs,
    file: SequenceFile,
    index: Indices,
    *,
    noise: int | None = None,
    reporter: Reporter | None = None,
    what: str = "encoding",
) -> Codes:
    """Return the codes of some sequences, in the order of `index`; values beyond a sequence's length are 0.

    Args:
        verbs: the model, in PyTorch or exported.
        file: sequence file.
        index: indices of the sequences, each once.
        noise: seed of codes drawn from the posterior; its means are taken when None.
        reporter: receives the progress.
        what: name of the stage for the reporter.

    Raises:
        CapabilityError: the model cannot encode.
        DataError: sequences whose elements are not the model's.
    """
    file.require(verbs.element)
    widths, position = verbs.widths, {row: i for i, row in enumerate(index.tolist())}
    static = np.zeros((len(index), widths.static_size), np.float32)
    dynamic = np.zeros((len(index), file.steps, widths.dynamic_size), np.float32)
    done = 0
    with stage(reporter, what, len(index)) as shown:
        for rows, x in equal_lengths(file, np.sort(index), 4 * verbs.batch_size):
            codes = verbs.encode(x, seed=noise, first=done)
            at = [position[row] for row in rows.tolist()]
            static[at], dynamic[at, : x.shape[1]] = codes.static, codes.dynamic
            done += len(rows)
            shown.advance(len(rows))
    return Codes(static, dynamic)


def code(
    verbs: Verbs,
    file: SequenceFile,
    parts: Parts,
    *,
    noise: int | None = None,
    reporter: Reporter | None = None,
) -> Coded:
    """Encode the three parts of a file: posterior means, or samples where `noise` gives a seed."""
    lengths = file.lengths()
    splits = []
    for i, (name, index) in enumerate(zip(PARTS, parts, strict=True)):
        # Each part has its own noise.
        seed = None if noise is None else 3 * noise + i
        codes = encode_file(verbs, file, index, noise=seed, reporter=reporter, what=f"encoding the {name} split")
        splits.append(Split(codes.static, codes.dynamic, None if lengths is None else lengths[index]))
    return Coded(file, parts, (splits[0], splits[1], splits[2]))


def codes_of(case: Case) -> Coded:
    """Return the posterior means of the codes of a case's file, encoded once for all protocols."""
    return case.once("codes", lambda: code(case.verbs, case.file, case.parts, reporter=case.reporter))


def raw(file: SequenceFile, parts: Parts, factor: str | None = None) -> tuple[Series, Series, Series]:
    """Return the data themselves, in their units, for baselines: series unchanged, spectra as windows of one step.

    Raises:
        DataError: images, which have no plain summaries.
    """
    if file.element.traits.pictorial:
        raise DataError(f"{file.path} holds images; raw baselines are of series and spectra")
    labels = None if factor is None else label_column(file, factor)
    targets = targets_of(file) if "targets" in file.names else None
    lengths = file.lengths()

    def part(index: Indices) -> Series:
        x = _windows(file.read(index))
        return Series(x, _rows(lengths, index), _rows(labels, index), None if targets is None else targets[index])

    return part(parts.train), part(parts.val), part(parts.test)


def _rows(values: Indices | None, index: Indices) -> Indices | None:
    return None if values is None else values[index]


def _windows(x: Array) -> Array:
    return x if x.ndim == 4 else x[:, :, None]
