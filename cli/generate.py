"""`sdkit generate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdkit.cli.hints import wrote
from sdkit.cli.options import Backend, BatchSize, BundleOption, Compression, Device, Force, Resume, Seed, Split, Threads
from sdkit.cli.screen import reporter, say
from sdkit.runtime.contract import StaticPrior
from sdkit.runtime.errors import ConfigError


def generate(
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, help="Number of sequences; 64 by default, with --like all of the file."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of elements in a sequence; as in training by default. Not with --like.")
    ] = None,
    keep: Annotated[
        Literal["static", "dynamic"] | None, typer.Option(help="Code of --like to keep; the other is drawn.")
    ] = None,
    like: Annotated[Path | None, typer.Option(help="Sequence file whose codes are kept.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Sequence file to write.")] = Path("generated.h5"),
    seed: Seed = 0,
    static_prior: Annotated[
        StaticPrior,
        typer.Option(help="Prior of drawn static codes: the bundle's own where it has one, or standard, N(0, I)."),
    ] = "fitted",
    split: Split = "all",
    bundle: BundleOption = None,
    device: Device = "auto",
    backend: Backend = "onnx",
    threads: Threads = None,
    batch_size: BatchSize = None,
    compression: Compression = "gzip",
    force: Force = False,
    resume: Resume = False,
) -> None:
    """Write sequences drawn from the prior, or with one code kept and the other drawn."""
    from sdkit.cli.opening import open_runtime

    if (keep is None) != (like is None):
        raise ConfigError("--keep and --like go together: which code to keep, and of which sequence file")
    if steps is not None and like is not None:
        raise ConfigError(f"--steps {steps}: with --like, sequences are as long as those of {like}; leave --steps out")
    rt = open_runtime(bundle, device, backend, threads, batch_size, static_prior)
    if keep is None or like is None:
        path = rt.generate_file(
            output, count=64 if count is None else count, steps=rt.manifest.steps if steps is None else steps,
            seed=seed, compression=compression, force=force, resume=resume, reporter=reporter(),
        )  # fmt: skip
    else:
        path = rt.resample_file(
            like, output, keep=keep, count=count, seed=seed, split=split, compression=compression, force=force,
            resume=resume, reporter=reporter(),
        )  # fmt: skip
    say(wrote(path, rt.element, moving=True))
