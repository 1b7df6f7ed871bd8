"""Figures of a row, by the names that tables show, taken from the sections of an evaluation."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from sdkit.evaluation.downstream.tasks import METRICS

Results = Mapping[str, Any]
Direction = Literal["up", "down", "none"]
"""Whether more of a figure is better, or less, or neither."""
KEPT = {"dynamic_kept": "s drawn", "static_kept": "d drawn"}
"""Scores of generated sequences, with the code that was drawn from the prior."""


class Figure(msgspec.Struct, frozen=True):
    """A figure of an evaluation."""

    value: float
    better: Direction
    beside: float | None = None
    """Value without a model: guessing, the most frequent class, a constant, or the floor of a distance."""
    main: bool = False
    """Whether it belongs to the short table."""


def figures_of(results: Results) -> dict[str, Figure]:
    """Return the figures of the results of `evaluate`, by name; what was not measured is absent."""
    return {
        name: Figure(float(value), better, None if beside is None else float(beside), main)
        for name, value, better, beside, main in read(results)
        if value is not None
    }


def notes_of(results: Results) -> dict[str, str]:
    """Return the remarks on figures whose meaning differs from that for other models, by their subject."""
    return {name: "; ".join(task["notes"]) for name, task in results.get("tasks", {}).items() if task.get("notes")}


class Found(NamedTuple):
    """A figure that an evaluation may hold."""

    name: str
    value: float | None
    better: Direction
    beside: float | None = None
    main: bool = False


def read(results: Results) -> Iterator[Found]:
    """Yield the figures of the results of `evaluate`, the main ones of each subject first."""
    yield from _judged(results.get("judge", {}))
    yield from _frechet(results.get("frechet", {}))
    yield from _leaked(results.get("leakage", ()))
    yield from _tasks(results.get("tasks", {}))
    yield from _codes(results)


def _judged(judge: Results) -> Iterator[Found]:
    swaps = judge.get("swaps", {})
    factors = swaps.get("factors", {})
    for kind in ("static", "dynamic"):
        chance = [factor["chance"] for factor in factors.values() if factor["kind"] == kind]
        yield Found(f"swap: {kind} right", swaps.get(kind), "up", mean(chance), main=True)
    for name, joint in swaps.get("joint", {}).items():
        title = f"swap: all {'' if name == 'all' else f'{name} '}right"
        yield Found(title, joint["accuracy"], "up", max(joint["chance"], joint["unread"]), main=name == "all")
    for kind, leaks in swaps.get("leaked", {}).items():
        yield Found(f"swap: {kind} leaked", leaks["share"], "down", leaks["chance"], main=True)
    for part, drawn in KEPT.items():
        for name, factor in judge.get(part, {}).get("factors", {}).items():
            if factor["kept"]:
                beside, main = factor["chance"], part == "dynamic_kept"
                yield Found(f"{drawn}: {name} right", factor["accuracy"]["mean"], "up", beside, main)
                if factor.get("agreement"):
                    yield Found(f"{drawn}: {name} agrees", factor["agreement"]["mean"], "up", beside)
    for name, factor in factors.items():
        yield Found(f"swap: {name} right", factor["accuracy"], "up", factor["chance"])
    truth = judge.get("swap_truth")
    if isinstance(truth, Mapping):
        yield Found("swap: error", truth["swap"], "down", truth["copy"])
        yield Found("reconstruction: error", truth["reconstruction"], "down")


def _frechet(distances: Results) -> Iterator[Found]:
    for name in ("reconstruction", "swap", "generation"):
        floor = distances.get("floor")
        yield Found(f"Frechet: {name}", distances.get(name), "down", floor, main=name == "generation")
    yield Found("Frechet: generation, fitted prior", distances.get("fitted_generation"), "down", distances.get("floor"))


def _leaked(rows: Any) -> Iterator[Found]:
    for kind, code in (("static", "d"), ("dynamic", "s")):
        excess = [_excess(row["leaked"]) for row in rows if row["kind"] == kind and row["reader"] == "linear"]
        # 0: no better than guessing; 1: every sequence told.
        yield Found(f"leakage into {code}", mean(excess), "down", 0.0, main=True)
        held = [_excess(row["intended"]) for row in rows if row["kind"] == kind and row["reader"] == "linear"]
        yield Found(f"{kind} factors in {'s' if code == 'd' else 'd'}", mean(held), "up", 0.0)
    for row in rows:
        wrong, right = ("d", "s") if row["kind"] == "static" else ("s", "d")
        sides: tuple[tuple[str, Any, Direction], ...] = (
            (wrong, row["leaked"], "down"),
            (right, row["intended"], "up"),
        )
        for code, part, better in sides:
            yield Found(f"{row['factor']} from {code}, {row['reader']}", part["accuracy"], better, _chance(part))


def _tasks(tasks: Results) -> Iterator[Found]:
    for name, task in tasks.items():
        first: Results = next(iter(task["baselines"].values()), {})
        titles = METRICS[task["kind"]]
        leading = list(titles)[: 3 if task["kind"] == "verify" else 2 if task["kind"] == "detect" else 1]
        for figure, title in titles.items():
            better: Direction = "down" if figure.startswith(("mae", "static", "centred_static")) else "up"
            value = task["figures"].get(figure)
            yield Found(f"{name}: {title}", value, better, first.get(figure), main=figure in leading)


def _codes(results: Results) -> Iterator[Found]:
    costs = results.get("likelihood", {})
    if costs.get("nll") is not None and costs.get("values"):
        yield Found("NLL a value", costs["nll"] / costs["values"], "none")
    yield Found("KL of s", costs.get("static_divergence"), "none", main=True)
    yield Found("KL of d", costs.get("dynamic_divergence"), "none", main=True)
    swaps = results.get("consistency", {}).get("swaps", {})
    yield Found("encoded swap: distance of s", swaps.get("static"), "down", 1.0)
    yield Found("encoded swap: distance of d", swaps.get("dynamic"), "down", 1.0)
    order = results.get("consistency", {}).get("order", {})
    yield Found("shuffled steps: distance of s", order.get("shuffled"), "none", 1.0)
    dci = results.get("dci", {})
    for name in ("disentanglement", "completeness", "informativeness"):
        yield Found(name, dci.get(name), "up")


def mean(values: list[float]) -> float | None:
    """Return the mean; None of nothing."""
    return sum(values) / len(values) if values else None


def _chance(probe: Results) -> float:
    return float(max(probe["majority"], probe["uniform"]))


def _excess(probe: Results) -> float:
    """Return the accuracy on a scale from guessing (0) to certainty (1)."""
    chance = _chance(probe)
    return float((probe["accuracy"] - chance) / (1 - chance)) if chance < 1 else 0.0
