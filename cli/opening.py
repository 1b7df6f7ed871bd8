"""Opening a runtime for a command."""

from pathlib import Path
from typing import TYPE_CHECKING

from sdkit.cli.screen import say

if TYPE_CHECKING:
    from sdkit.runtime.bundles.specs import GraphFormat
    from sdkit.runtime.contract import StaticPrior
    from sdkit.runtime.runtime import Runtime


def open_runtime(
    bundle: Path | None,
    device: str,
    backend: "GraphFormat",
    threads: int | None,
    batch_size: int | None,
    static_prior: "StaticPrior" = "fitted",
) -> "Runtime":
    """Open the bundle and print what it is and where it really runs."""
    from sdkit.runtime.runtime import Runtime

    rt = Runtime.open(
        bundle, device=device, backend=backend, threads=threads, batch_size=batch_size, static_prior=static_prior
    )
    say(f"{rt.bundle.path}: {rt.backend.name} on {rt.device}")
    return rt
