"""An evaluation in a few lines: each figure beside what it should be compared with."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sdkit.evaluation.downstream.tasks import METRICS

UNDEFINED = "undefined"
"""A figure that came out as no number."""


class Line(NamedTuple):
    """One figure, as text."""

    section: str
    figure: str
    value: str
    beside: str = ""
    """Chance, a baseline, a bound: without it the figure says little."""


def summary(results: dict[str, Any]) -> list[Line]:
    """Return the lines of what `evaluate` gave back."""
    return [
        *_codes(results),
        *_consistency(results["consistency"]),
        *_judge(results.get("judge")),
        *_leakage(results.get("leakage", [])),
        *_dci(results.get("dci")),
        *_tasks(results["tasks"]),
    ]


def _codes(results: dict[str, Any]) -> Iterator[Line]:
    codes, costs = results["codes"], results.get("likelihood")
    yield Line("codes", "active static units", f"{codes['active_static']} of {codes['static_size']}")
    yield Line("codes", "active dynamic units", f"{codes['active_dynamic']} of {codes['dynamic_size']}")
    yield Line("codes", "KL static", f"{_number(codes['kl_static'], 2)} nats a sequence", "near 0: collapsed")
    if costs:
        yield Line("codes", "KL dynamic", f"{_number(costs['kl_dynamic'], 2)} nats a sequence", "near 0: collapsed")
        terms = ", ".join(_number(costs[name], 2) for name in ("nll", "nll_anchor"))
        yield Line("codes", "NLL of the steps, of the anchor", f"{terms} nats")


def _consistency(found: dict[str, Any]) -> Iterator[Line]:
    swaps, static = found["swaps"], found["static"]
    scale = "0 perfect, 1 as far as another sequence"
    yield Line("consistency", "static code of an encoded swap", _ratio(swaps["static"]), scale)
    yield Line("consistency", "dynamic codes of an encoded swap", _ratio(swaps["dynamic"]), scale)
    yield Line("consistency", "swapped twice against reconstruction", _ratio(swaps["twice"]), scale)
    yield Line("consistency", "static code over anchors (ICC)", _ratio(static["intraclass_correlation"]), "1 constant")


def _judge(judge: dict[str, Any] | None) -> Iterator[Line]:
    if judge is None:
        return
    real = judge["accuracy_on_real"]
    yield Line("judge", "least accuracy on real sequences", _percent(min(real.values())), "bounds all below")
    for title, part in (("d kept, s drawn", "dynamic_kept"), ("s kept, d drawn", "static_kept")):
        for name, factor in judge[part]["factors"].items():
            wanted = "should be kept" if factor["kept"] else f"should be lost: chance {_percent(factor['chance'])}"
            yield Line("judge", f"{title}: {name}", _percent(factor["accuracy"]["mean"]), wanted)
            if part == "dynamic_kept" and factor["kept"]:
                scores = ("inception_score", "entropy_given_x", "entropy")
                values = ", ".join(_number(factor[score]["mean"]) for score in scores)
                bound = judge["real"]["factors"][name]
                best = ", ".join(_number(bound[score]["mean"]) for score in scores)
                yield Line("judge", f"{title}: IS, H(y|x), H(y)", values, f"real sequences {best}")
    for name, factor in judge["swaps"]["factors"].items():
        yield Line("judge", f"swap: {name}", _percent(factor["accuracy"]), f"chance {_percent(factor['chance'])}")
    truth = judge["swap_truth"]
    if isinstance(truth, dict):
        names = ("swap", "reconstruction", "copy")
        for steps, errors in (
            ("all steps", [truth[name] for name in names]),
            ("step 1", [truth[f"{name}_by_step"][0] for name in names]),
        ):
            swap, plain, copy = (_number(error, 2) for error in errors)
            yield Line("judge", f"swap against its truth, {steps}", swap, f"reconstruction {plain}, no swap {copy}")
    for name, score in judge["msd"].items():
        yield Line("judge", name, _number(score["score"]["mean"]), "1 is best")


def _leakage(rows: list[dict[str, Any]]) -> Iterator[Line]:
    for row in rows:
        wrong = "d" if row["kind"] == "static" else "s"
        right = "s" if row["kind"] == "static" else "d"
        leaked, intended = row["leaked"], row["intended"]
        chance = max(leaked["majority"], leaked["uniform"])
        beside = f"chance {_percent(chance)}; from {right} {_percent(intended['accuracy'])}"
        yield Line("leakage", f"{row['factor']} from {wrong}, {row['reader']}", _percent(leaked["accuracy"]), beside)


def _dci(scores: dict[str, Any] | None) -> Iterator[Line]:
    for name in ("disentanglement", "completeness", "informativeness"):
        if scores is not None:
            yield Line("DCI", name, _number(scores[name]), "1 is best")


def _tasks(tasks: dict[str, Any]) -> Iterator[Line]:
    for name, task in tasks.items():
        for figure, title in METRICS[task["kind"]].items():
            interval = task["intervals"].get(figure)
            value = _number(task["figures"][figure])
            if interval:
                value += f" ({_number(interval['low'])} to {_number(interval['high'])})"
            yield Line(f"task {name}", title, value, _baselines(task["baselines"], figure))


def _baselines(rows: dict[str, dict[str, float | None]], figure: str) -> str:
    """Return the first baseline, which knows nothing of a sequence, and the best of the others."""
    values = {row: value for row, figures in rows.items() if (value := figures.get(figure)) is not None}
    if not values:
        return ""
    (name, value), *others = values.items()
    text = f"{name} {value:.3f}"
    if others:
        best = (min if figure.startswith("mae") else max)(others, key=lambda item: item[1])
        text += f"; {best[0]} {best[1]:.3f}"
    return text


def _number(value: float | None, digits: int = 3) -> str:
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _ratio(value: float | None) -> str:
    return "none: the codes never differ" if value is None else f"{value:.3f}"
