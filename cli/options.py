"""Options that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sdkit.presets import names
from sdkit.runtime.errors import ConfigError

BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", "-b", help="Bundle or run to use; else SDKIT_BUNDLE, else the newest run's bundle."),
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N; only auto falls back to the CPU.")]
Backend = Annotated[
    Literal["onnx", "torchscript"],
    typer.Option(help="Engine that runs the graphs; torchscript is code, so use it only for bundles you trust."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of threads of one operator.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Number of sequences that run at a time; by default one that suits model and device."),
]
Method = Annotated[str | None, typer.Option(help="Method to train, dbse by default; `sdkit methods` lists them.")]
Variant = Annotated[
    str | None, typer.Option(help="Variant of the method; by default the one that suits the kind of elements.")
]
Split = Annotated[Literal["train", "val", "test", "all"], typer.Option(help="Take the sequences of this split only.")]
Compression = Annotated[
    Literal["gzip", "lz4", "none"],
    typer.Option(help="Compression of outputs: gzip opens in every HDF5 reader, lz4 is fast."),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace existing outputs.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue where an interrupted run stopped; keep what is done if this one is interrupted."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print figures as JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the noise; the same seed gives the same result everywhere.")]


Preset = Annotated[
    str | None,
    typer.Option(
        help=f"Preset to start from, of the data's kind: {', '.join(names())}; by default that of their name or kind.",
        autocompletion=names,
    ),
]


def settings(given: Iterable[str] | None, options: Iterable[str], see: str) -> dict[str, Any]:
    """Return the settings of texts NAME=VALUE, as `--set` takes them, by name.

    Args:
        given: texts.
        options: arguments of the command that are no settings.
        see: where the settings are listed, for the error.

    Raises:
        ConfigError: no equals sign, or a name that is an option.
    """
    from sdkit.training.config import parse_override

    found = dict(parse_override(text) for text in given or [])
    for key in options:
        if key in found:
            raise ConfigError(f"--set {key}: '{key}' is no setting; see {see}")
    return found
