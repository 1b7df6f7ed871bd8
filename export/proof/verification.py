"""`verify`: proves a bundle again, on any machine, with what is installed there.

It compares with the run's weights where PyTorch and the weights are present; else with the golden vectors that every
bundle holds. TorchScript graphs are code, which may do anything that the user may do: they run only where a caller asks
for them, and are then compared in the same way, and the ONNX graphs with them.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sdkit.export.proof.cases import scale_of
from sdkit.export.proof.parity import Report, against_golden, against_model, versions
from sdkit.export.proof.vectors import golden_vectors
from sdkit.runtime.bundles.bundle import Bundle, sha256
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.errors import BundleError, MissingExtraError, MissingFileError
from sdkit.runtime.runtime import Runtime

if TYPE_CHECKING:
    from sdkit.runtime.verbs.arrays import Verbs


def verify(
    path: str | Path | None = None,
    *,
    run: str | Path | None = None,
    device: str = "cpu",
    backend: GraphFormat = "onnx",
) -> Report:
    """Check the files of a bundle, then compare every graph and verb; the report names what they were compared with.

    Args:
        path: a bundle or its run; the newest run's bundle when None.
        run: run whose weights to compare with; searched for around the bundle when None.
        device: device on which the candidates run.
        backend: `onnx`, or `torchscript`, which runs the TorchScript graphs as well: only for bundles that you trust.

    Raises:
        BundleError: files that are not those that were exported, or no graphs of this format.
        MissingFileError: no bundle, or a run given that is not the bundle's.
        MissingExtraError: the library that runs the graphs is not installed.

    >>> report = sdkit.verify("runs/puppets/bundle")
    >>> report.ok, report.reference
    (True, 'the weights in PyTorch')
    """
    bundle = Bundle.open(path)
    runtimes = _runtimes(bundle, device, backend)
    report = Report("", versions=versions(), precision=bundle.manifest.precision)
    model, scale = _model(bundle, run), scale_of(bundle.manifest)
    if model is not None:
        report.reference = "the weights in PyTorch"
        report.rows = against_model(model, runtimes, scale)
        return report
    scripts = [rt for rt in runtimes if rt.backend.name == "torchscript"]
    others = [rt for rt in runtimes if rt.backend.name != "torchscript"]
    if scripts and others:
        report.reference = "the TorchScript graphs and the golden vectors"
        report.rows = against_model(scripts[0], others, scale)
    else:
        report.reference = "the golden vectors"
    report.rows += against_golden(golden_vectors(bundle), runtimes, bundle.file("golden"), scale)
    return report


def _runtimes(bundle: Bundle, device: str, backend: GraphFormat) -> list[Runtime]:
    formats = bundle.manifest.formats
    if backend == "onnx" and formats == ("torchscript",):
        raise BundleError(
            f"{bundle.path} holds TorchScript graphs alone, which are code; if you trust the bundle, verify it with "
            "--backend torchscript (backend='torchscript')"
        )
    if backend not in formats:
        raise BundleError(f"{bundle.path} holds no complete set of {backend} graphs; `sdkit export --format {backend}`")
    runtimes = []
    for format_ in formats if backend == "torchscript" else (backend,):
        try:
            runtimes.append(Runtime.open(bundle.path, device=device, backend=format_))
        except MissingExtraError:
            if format_ == backend:
                raise
    return runtimes


def _model(bundle: Bundle, run: str | Path | None) -> "Verbs | None":
    """Return the training model whose weights the bundle was made from, if it is available."""
    if importlib.util.find_spec("torch") is None:
        if run is not None:
            raise MissingExtraError("comparing with a run's weights needs PyTorch; pip install 'sdkit[train]'")
        return None
    from sdkit.methods.graphs import verbs
    from sdkit.training.run import Run, find_run

    provenance = bundle.manifest.provenance
    which: Literal["best", "last"] = "last" if provenance.weights == "last" else "best"
    try:
        # A bundle usually lies in its run's folder.
        source = find_run(run) if run is not None else Run(bundle.path.resolve().parent)
        same = sha256(source.weights(which)) == provenance.weights_sha256
    except MissingFileError:
        if run is not None:
            raise
        return None
    if not same:
        if run is not None:
            raise MissingFileError(
                f"the {which} weights of {source.path} are not those that {bundle.path} was made from"
            )
        return None
    return verbs(source.load_model(which))
