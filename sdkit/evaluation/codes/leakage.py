"""Leakage of a coded file: as a section of an evaluation, and as a task for tables of models."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sdkit.evaluation.base import BOTH_CODES, Case, EvaluationProtocol, Line, Needs, percent, refusal
from sdkit.evaluation.codes.encoded import Coded, code, codes_of
from sdkit.evaluation.codes.probes import Leakage, LeakageTable, Reader, leakage_table
from sdkit.evaluation.data import Parts, label_column, label_table
from sdkit.evaluation.downstream.tasks import Baselines, Figures, Result
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs

CODES = {"static": "s", "dynamic": "d"}


def leakage(coded: Coded, *, readers: tuple[Reader, ...] = ("linear", "mlp"), seed: int = 0) -> LeakageTable:
    """Probe every factor of a coded file from both codes."""
    train, test = (label_table(coded.file, index, coded.factors) for index in (coded.parts.train, coded.parts.test))
    return leakage_table(coded.splits[0], coded.splits[2], train, test, coded.factors, readers=readers, seed=seed)


class LeakageProtocol(EvaluationProtocol):
    """Probes of every factor from both codes."""

    name = section = "leakage"
    needs = Needs(verbs=(BOTH_CODES,), factors=1)

    def run(self, case: Case) -> tuple[Leakage, ...]:
        """Probe the codes of the test split with readers fitted on those of the training split."""
        table = leakage(codes_of(case), seed=case.seed)
        case.skipped |= {f"probe of {name}": reason for name, reason in table.skipped.items()}
        return table.rows

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield the accuracy from the wrong code, beside chance and that from the right one."""
        for row in found:
            wrong, right = ("d", "s") if row["kind"] == "static" else ("s", "d")
            leaked, intended = row["leaked"], row["intended"]
            chance = max(leaked["majority"], leaked["uniform"])
            beside = f"chance {percent(chance)}; from {right} {percent(intended['accuracy'])}"
            figure = f"{row['factor']} from {wrong}, {row['reader']}"
            yield Line(self.section, figure, percent(leaked["accuracy"]), beside)


@dataclass(frozen=True)
class LeakageTask:
    """Probes of every factor on the code that should hold it and on the one that should not, means and samples."""

    name: str = "leakage"

    def unmet(self, abilities: Abilities, steps: int) -> str:
        """Return why a model has no figures: it lacks one of the codes."""
        return refusal(abilities, LeakageProtocol.needs.verbs, steps)

    @property
    def metrics(self) -> Mapping[str, str]:
        """Empty, since the figures are named after the data's own factors."""
        return {}

    def run(
        self,
        verbs: Verbs,
        file: SequenceFile,
        parts: Parts,
        *,
        seed: int = 0,
        device: str = "auto",
        reporter: Reporter,
    ) -> Result:
        """Probe a model's codes; no device is needed."""
        means = leakage(code(verbs, file, parts, reporter=reporter), seed=seed)
        drawn = code(verbs, file, parts, noise=seed, reporter=reporter)
        samples = leakage(drawn, readers=("linear",), seed=seed)
        return Result({**_figures(means, ""), **_figures(samples, " sampled")}, {})

    def baselines(
        self,
        file: SequenceFile,
        parts: Parts,
        *,
        seed: int = 0,
        device: str = "auto",
        reporter: Reporter | None = None,
    ) -> Baselines:
        """Return the share of each factor's most frequent test value, for every probe of it."""
        rows: Figures = {}
        for factor in file.factors:
            labels = label_column(file, factor.name)
            known, asked = labels[parts.train], labels[parts.test]
            commonest = max(set(known.tolist()), key=known.tolist().count)
            for letter in CODES.values():
                for reader in ("linear", "mlp", "linear sampled"):
                    rows[_name(factor.name, letter, reader)] = float((asked == commonest).mean())
        return {"majority": rows}


def _figures(table: LeakageTable, suffix: str) -> Figures:
    return dict(_named(table, suffix))


def _named(table: LeakageTable, suffix: str) -> Iterator[tuple[str, float]]:
    for row in table.rows:
        for kind, letter in CODES.items():
            found = row.intended if kind == row.kind else row.leaked
            yield _name(row.factor, letter, row.reader + suffix), found.accuracy


def _name(factor: str, letter: str, reader: str) -> str:
    return f"{factor} from {letter}, {reader}"
