"""Parts of an evaluation: protocols, each with its needs, its measurement and its lines on the screen.

A protocol is one class in the module of its subject and one entry of `protocols.PROTOCOLS`. `evaluate`, the
summary and the command line know no protocol by name. One whose needs a case does not meet is skipped, and
evaluation.json says why.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from sdkit.evaluation.data import Parts
from sdkit.evaluation.subject import Subject
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.errors import CapabilityError, ConfigError
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs

REPEATS = 5
"""Default number of draws of codes from the prior."""
JUDGES = RUNS / "judges"
BOTH_CODES = "swap"
"""Verb that a model has if it infers a static code and dynamic codes."""
DRAWN = ("generate", "resample_dynamic")
"""Verbs that draw as many steps from the prior as a sequence has."""
UNDEFINED = "undefined"
"""Text of a figure that is not a number."""

T = TypeVar("T")


class Line(NamedTuple):
    """One figure, as text."""

    section: str
    figure: str
    value: str
    beside: str = ""
    """Chance, a baseline or a bound, without which the figure says little."""


@dataclass
class Case:
    """A model, a file with a test split, and the settings of their evaluation."""

    subject: Subject
    file: SequenceFile
    parts: Parts
    repeats: int = REPEATS
    """Number of draws of codes from the prior."""
    seed: int = 0
    """Seed of heads, draws and pairs."""
    device: str = "auto"
    """Device of the judge."""
    judges: Path = JUDGES
    """Folder of judges."""
    reporter: Reporter = field(default_factory=Quiet)
    skipped: dict[str, str] = field(default_factory=dict)
    """Reasons for what was not measured, by name."""
    of_data: dict[str, Any] = field(default_factory=dict)
    """Results that depend on the data and the seed alone, such as baselines; models on one file may share them."""
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def verbs(self) -> Verbs:
        """The verbs of the model."""
        return self.subject.verbs

    @property
    def declared(self) -> Verbs:
        """The verbs of the model, with static codes drawn from the prior that it was trained against."""
        return self.subject.declared

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return a result that several protocols need, computed for the first that asks for it."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]  # type: ignore[no-any-return]

    def once_for_data(self, name: str, make: Callable[[], T]) -> T:
        """Return a result that does not depend on the model, computed for the first model that asks for it."""
        key = f"{name}, seed {self.seed}"
        if key not in self.of_data:
            self.of_data[key] = make()
        return self.of_data[key]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Needs:
    """Requirements of a protocol on a model and a file."""

    verbs: tuple[str, ...] = ()
    """Verbs that the model must have, names of `runtime.contract.VERBS`."""
    model: bool = False
    """Whether the training model is needed; a bundle holds only graphs."""
    factors: int = 0
    """Least number of labelled factors."""

    def unmet(self, case: Case) -> str:
        """Return the reason why a case does not meet the needs, in one line; an empty text where it does."""
        if self.model and case.subject.model is None:
            return "a bundle holds no objective; evaluate the run that it was exported from"
        if len(case.file.factors) < self.factors:
            return f"the file has {len(case.file.factors) or 'no'} labelled factor; at least {self.factors} is needed"
        return refusal(case.verbs.abilities, self.verbs, case.file.steps)


class EvaluationProtocol(ABC):
    """One measurement of a model on the test split of a file."""

    name: ClassVar[str]
    """Name in `skipped`, where the reason stands if it was not run."""
    section: ClassVar[str]
    """Section of evaluation.json that it fills."""
    part: ClassVar[str] = ""
    """Key within the section, where several protocols share one."""
    needs: ClassVar[Needs] = Needs()

    def unmet(self, case: Case) -> str:
        """Return the reason why it cannot run on a case, in one line; an empty text where it can."""
        return self.needs.unmet(case)

    @abstractmethod
    def run(self, case: Case) -> Any:
        """Return the results: dataclasses, arrays and numbers, which `plain` converts for evaluation.json.

        Reasons for parts that are left out go into `case.skipped`.
        """

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield the figures of its entry in evaluation.json, each with a figure to compare it with."""
        yield from ()

    def put(self, results: dict[str, Any], found: Any) -> None:
        """Put its entry into the results."""
        if self.part:
            results.setdefault(self.section, {})[self.part] = found
        else:
            results[self.section] = found

    def get(self, results: Mapping[str, Any]) -> Any:
        """Return its entry of the results; None where it was skipped."""
        found = results.get(self.section)
        return found.get(self.part) if self.part and found is not None else found


def refusal(abilities: Abilities, verbs: Iterable[str], steps: int) -> str:
    """Return why a model lacks one of these verbs for sequences of this many steps; an empty text where it has all."""
    try:
        for verb in verbs:
            abilities.require(verb)
            if verb in DRAWN:
                abilities.require_steps(steps)
    except (CapabilityError, ConfigError) as error:
        return str(error)
    return ""


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure as text."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """Return a share as text."""
    return f"{100 * value:.1f} %"
