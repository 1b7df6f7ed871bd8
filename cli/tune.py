"""`sdkit tune`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sdkit.cli.options import Json, Method, Preset, Variant, settings
from sdkit.cli.screen import out, print_json, reporter, say
from sdkit.runtime.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from sdkit.experiments.tuning.result import Study, Trial

OPTIONS = ("data", "trials", "objective", "study", "timeout", "method", "preset", "variant", "device", "reporter")
"""Arguments of `sdkit.tune` that are not settings."""
INTERRUPTED = 130


def tune(
    data: Annotated[Path, typer.Argument(help="Sequence file with a validation split, or enough to hold one out.")],
    trials: Annotated[int, typer.Option(min=1, help="Number of trials in all; an existing study is continued.")] = 30,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of epochs of a trial; that of the settings by default.")
    ] = None,
    objective: Annotated[
        Literal["elbo", "reconstruction", "loss"],
        typer.Option(
            help="What trials are compared by, on the validation split; reconstruction and loss need every "
            "weight of the loss set."
        ),
    ] = "elbo",
    method: Method = None,
    preset: Preset = None,
    variant: Variant = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting that is not searched, such as batch_size=64; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the search and of every trial.")] = None,
    study: Annotated[Path | None, typer.Option(help="Study file; runs/tune/NAME.db by default.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Minutes after which no further trial begins.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Json = False,
) -> None:
    """Search a method's settings and the learning rate on the validation split."""
    import sdkit

    overrides = settings(set_, OPTIONS, "`sdkit tune --help`")
    overrides |= {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    found = sdkit.tune(
        data, trials=trials, objective=objective, study=study, timeout=timeout, method=method,
        preset=preset, variant=variant, device=device, reporter=reporter(), **overrides,
    )  # fmt: skip
    if as_json:
        print_json(_figures(found))
    else:
        out.print(_table(found))
    if found.best is None:
        last = next(trial for trial in reversed(found.trials) if trial.reason)
        raise ConfigError(f"no trial of {found.path} completed; trial {last.number} failed: {last.reason}")
    for code in ("static", "dynamic"):
        if getattr(found.best, f"active_{code}") == 0:
            say(f"warning: the {code} code of the best trial has collapsed: none of its units varies over the data")
    say(f"best: trial {found.best.number}; settings {found.settings_file}, picture {found.picture}")
    say(f"next: {found.command}")
    if found.interrupted:
        say("interrupted; the same command continues")
        raise typer.Exit(INTERRUPTED)


def _figures(study: "Study") -> dict[str, object]:
    facts = dataclasses.asdict(study)
    return {name: str(value) if isinstance(value, Path) else value for name, value in facts.items()}


def _table(study: "Study") -> "Table":
    from rich import box
    from rich.table import Table

    from sdkit.experiments.tuning.objectives import OBJECTIVES

    names = {"learning_rate": "lr", "static_size": "S", "dynamic_size": "D"}
    searched = list(dict.fromkeys(name for trial in study.trials for name in trial.settings))
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, caption_justify="left")
    table.caption = (
        f"value: validation {OBJECTIVES[study.objective].label}, lower is better; active: units of the static / "
        "dynamic code that vary over the data"
    )
    for name in ("trial", "state", "value", "epochs", *(names.get(n, n) for n in searched), "active"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for trial in study.trials:
        best = trial == study.best
        table.add_row(*_row(trial, searched, best=best), style="bold green" if best else "")
    # A narrow terminal wraps lines rather than losing digits.
    table.width = out.measure(table, options=out.options.update(max_width=1000)).maximum
    return table


def _row(trial: "Trial", searched: list[str], *, best: bool) -> list[str]:
    from sdkit.experiments.tuning.space import shown

    value = "" if trial.value is None else f"{trial.value:.6g}"
    units = (trial.active_static, trial.active_dynamic)
    active = "" if units == (None, None) else " / ".join("-" if unit is None else str(unit) for unit in units)
    found = [shown(trial.settings[name]) if name in trial.settings else "" for name in searched]
    return [f"{'* ' if best else ''}{trial.number}", trial.state, value, str(trial.epochs), *found, active]
