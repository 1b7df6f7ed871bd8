"""`sdkit train`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.hints import command
from sdkit.cli.options import Json, Method, Preset, Variant, settings
from sdkit.cli.screen import out, print_json, reporter, say

OPTIONS = ("data", "method", "preset", "variant", "name", "device", "resume", "reporter")
"""Arguments of `sdkit.train` that are not settings."""


def train(
    data: Annotated[Path | None, typer.Argument(help="Sequence file; the built-in puppets by default.")] = None,
    method: Method = None,
    preset: Preset = None,
    variant: Variant = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as beta=0.1; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs in all.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of weights, order and noise.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder under runs/.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the newest run, or the one --name names.")] = False,
    list_settings: Annotated[
        bool, typer.Option("--list-settings", help="List every setting, its default and what it is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model and write its run, a folder under runs/."""
    import sdkit
    from sdkit.training.config import describe_settings, explain_settings

    if list_settings:
        notes = explain_settings(method)
        for setting in describe_settings(method, preset, variant):
            out.print(setting, markup=False)
            if note := notes.get(setting.partition(" = ")[0]):
                out.print(f"    {note}", markup=False)
        return
    overrides = settings(set_, OPTIONS, "`sdkit train --help` and --list-settings")
    overrides |= {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    run = sdkit.train(
        data,
        method=method,
        preset=preset,
        variant=variant,
        name=None if resume else name,
        device=device,
        resume=(name or True) if resume else False,
        reporter=reporter(),
        **overrides,
    )
    last = run.metrics()[-1]
    if as_json:
        print_json({"run": str(run.path), **last})
    shown = "curves.png and swaps/ show" if (run.path / "swaps").is_dir() else "curves.png shows"
    say(f"trained {run.path}: {last['epoch']} epochs; {shown} how it went; next: {command(['export', run.path])}")
