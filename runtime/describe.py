"""Contents of files and bundles, as plain values for a table or JSON."""

import json
from pathlib import Path
from typing import Any

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.storage.sequences import SPLITS, SequenceFile

AXES = ("step", "bin_spacing")
"""Attributes that say what a step and a bin are."""


def describe_sequences(path: str | Path, *, check: bool = False) -> dict[str, Any]:
    """Return what a sequence file holds, as plain values; with `check`, every value of it is read and checked first.

    Numbers are numbers, sizes are bytes, what a file does not state is None, and no list is cut.

    Raises:
        MissingFileError, FileFormatError, DataError: as `SequenceFile` and `SequenceFile.check`.
    """
    file = SequenceFile(path)
    if check:
        file.check()
    element, lengths, axes = file.element, file.lengths(), file.stated(*AXES)
    return {
        "path": str(path),
        "name": file.meta.name or None,
        "sequences": file.count,
        "steps": file.steps,
        "lengths": None if lengths is None else {"least": int(lengths.min()), "most": int(lengths.max())},
        "element": {"kind": element.kind, "shape": list(element.shape), "dtype": element.dtype},
        "features": _features(element.feature_names, element.units, element.features),
        "units": list(element.units),
        "rate": file.meta.rate,
        **{name: str(axes[name]) if name in axes else None for name in AXES},
        "bytes_in_memory": file.nbytes,
        "bytes_on_disk": Path(path).stat().st_size,
        "compression": file.data.compression,
        "source": file.meta.source or None,
        "licence": file.meta.licence or None,
        "splits": {s: len(part) for s in SPLITS if (part := file.split(s)) is not None},
        "factors": {f.name: {"kind": f.kind, "values": list(f.values)} for f in file.factors},
        "targets": _targets(file),
        "checked": check,
    }


def _features(names: tuple[str, ...], units: tuple[str, ...], count: int) -> list[dict[str, str | None]]:
    """Return name and unit of each feature, where they have names; nothing of spectra and pixels."""
    if len(names) != count:
        return []
    each: tuple[str | None, ...] = units if len(units) == count else (units or (None,))[:1] * count
    return [{"name": name, "unit": unit} for name, unit in zip(names, each, strict=True)]


def _targets(file: SequenceFile) -> dict[str, Any] | None:
    if "targets" not in file.names:
        return None
    texts = {name: file.attribute(f"target_{name}") for name in ("names", "units")}
    shape = file.part("targets", "(N, T, K)").shape
    return {"a_step": shape[2], **{name: _texts(text) for name, text in texts.items()}}


def _texts(text: Any) -> list[str] | None:
    """Return a JSON list of texts; None for anything else."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else None


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
