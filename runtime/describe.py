"""Contents of files and bundles, as plain values for a table or JSON."""

from pathlib import Path
from typing import Any

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.storage.sequences import SPLITS, SequenceFile

MOST_LISTED = 24
"""Number of values of a factor that are listed one by one."""


def describe_sequences(path: str | Path, *, check: bool = False) -> dict[str, Any]:
    """Return what a sequence file holds; with `check`, every value of it is read and checked first.

    Raises:
        MissingFileError, FileFormatError, DataError: as `SequenceFile` and `SequenceFile.check`.
    """
    file = SequenceFile(path)
    if check:
        file.check()
    element, lengths = file.element, file.lengths()
    facts: dict[str, Any] = {
        "path": str(path),
        "name": file.meta.name or "-",
        "sequences": file.count,
        "steps": file.steps if lengths is None else f"{lengths.min()} to {lengths.max()}, stored as {file.steps}",
        "element": element.describe(),
        "units": ", ".join(element.units) or "-",
        "rate": f"{file.meta.rate:g} elements a second" if file.meta.rate else "-",
        "in memory": f"{file.nbytes / 1e6:,.0f} MB",
        "on disk": f"{Path(path).stat().st_size / 1e6:,.0f} MB",
        "compression": file.data.compression,
        "source": file.meta.source or "-",
        "licence": file.meta.licence or "-",
    }
    facts["splits"] = {s: len(part) for s in SPLITS if (part := file.split(s)) is not None}
    facts["factors"] = {f.name: f"{f.kind}, {len(f.values)} values: {_listed(f.values)}" for f in file.factors}
    if "targets" in file.names:
        facts["targets"] = f"{file.part('targets', '(N, T, K)').shape[2]} a step"
    if check:
        facts["checked"] = "every value read"
    return facts


def _listed(values: tuple[str, ...]) -> str:
    """Return the values, or the first and the last of many."""
    return ", ".join(values if len(values) <= MOST_LISTED else (*values[: MOST_LISTED - 2], "...", values[-1]))


def describe_bundle(path: str | Path | None = None) -> dict[str, Any]:
    """Return what a bundle holds.

    Raises:
        MissingFileError, BundleError: as `Bundle.open`.
    """
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    p, widths = manifest.provenance, manifest.widths
    return {
        "path": str(bundle.path),
        "run": p.run,
        "method": manifest.method + (f", variant {manifest.variant}" if manifest.variant else ""),
        "element": manifest.element.describe(),
        "codes": f"static S = {widths.static_size}, dynamic D = {widths.dynamic_size} a step",
        "verbs": ", ".join(manifest.capabilities),
        **{f"no {verb}": reason for verb, reason in manifest.refusals.items()},
        **({"longest draw": f"{manifest.max_steps} steps"} if manifest.max_steps else {}),
        "formats": ", ".join(manifest.formats),
        "precision": manifest.precision,
        "trained on": f"{p.data}, T = {manifest.steps}, {p.epochs} epochs, seed {p.seed}",
        "weights": f"{p.weights}, sha256 {p.weights_sha256[:16]}...",
        "created": f"{p.created} by sdkit {p.sdkit_version}, torch {p.torch_version}",
        "graphs": {
            name: "; ".join(
                f"{s.path} {s.size / 1e6:.2f} MB"
                + (f" opset {s.opset}" if s.opset else "")
                + f" {manifest.precision_of(name, f)}"
                for f, s in g.files.items()
            )
            for name, g in manifest.graphs.items()
        },
    }
