"""`export_bundle`: converts a trained run to a bundle of graphs and proves them equal to the model."""

import datetime
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from sdkit.export.card import model_card
from sdkit.export.graphs.precision import (
    CALIBRATION_COUNT,
    Calibration,
    calibration_of,
    check_precision,
    convert,
    graph_feeds,
)
from sdkit.export.graphs.signatures import Signature, signatures
from sdkit.export.graphs.writers import check_opset, compiled, write_onnx, write_torchscript
from sdkit.export.proof.cases import golden, scale_of
from sdkit.export.proof.parity import Metric, Report, measure_errors
from sdkit.export.proof.prove import prove
from sdkit.runtime.bundles.bundle import Bundle, file_spec, sha256
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import SUFFIXES, FileSpec, GraphFormat, GraphSpec, Precision, Provenance
from sdkit.runtime.element import Array
from sdkit.runtime.engines.onnx_runtime import OnnxBackend
from sdkit.runtime.errors import ConfigError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.output import check_output, replacing
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.runtime.version import __version__
from sdkit.training.run import Run, RunConfig, find_run

if TYPE_CHECKING:
    from sdkit.methods.base import Method

Formats = Literal["onnx", "torchscript", "all"]
Weights = Literal["best", "last"]
Metrics = Callable[[Verbs, Verbs], dict[str, Metric]]
"""Function that takes the graphs and the float32 model and returns figures of both."""


def export_bundle(
    run: Run | str | Path | None = None,
    path: str | Path | None = None,
    *,
    format: Formats = "onnx",
    opset: int = 18,
    weights: Weights = "best",
    precision: Precision = "float32",
    calibration: str | Path | None = None,
    calibration_count: int = CALIBRATION_COUNT,
    metrics: Metrics | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Bundle:
    """Export the graphs of a run and prove them, in a process of their own, against the training model.

    Args:
        run: a run, its folder or name; the newest when None.
        path: the bundle to write; `bundle` in the run's folder when None.
        format: `onnx`, `torchscript` or `all`.
        opset: ONNX opset, 17 to 20.
        weights: `best` (lowest validation loss) or `last`.
        precision: `float32`; `int8` (quantised; for CPUs) or `float16` (for GPUs), for the ONNX graphs that gain by it.
        calibration: sequences whose training split int8 is calibrated on; the run's training data when None.
        calibration_count: number of sequences to calibrate on.
        metrics: for int8 and float16, a function that evaluates the graphs and the model, for parity.json;
            `sdkit.experiments.metric_parity.metrics_of` returns one.
        force: replace an existing bundle.
        reporter: receives progress and notes.

    Raises:
        MissingFileError: no run, or no weights in it yet.
        OutputExistsError: the bundle exists and `force` is off.
        ConfigError: an opset, format or precision that cannot be written.
        DataError: calibration data whose elements are not the model's.
        ParityError: a graph or verb differs from the model; no bundle is left behind.

    >>> bundle = sdkit.export_bundle("puppets", "a-bundle", format="all")
    >>> bundle.manifest.formats
    ('onnx', 'torchscript')
    """
    source = run if isinstance(run, Run) else find_run(run)
    formats = _formats(format)
    check_opset(opset)
    check_precision(precision, format)
    if weights not in ("best", "last"):
        raise ConfigError(f"unknown weights '{weights}'; choose best or last")
    file = source.weights(weights)
    target = check_output(path or source.bundle, force=force)
    if target.exists() and not (target / "manifest.json").is_file():
        raise ConfigError(f"{target} exists and is not a bundle; it is not replaced, choose another output")
    reporter = reporter or Quiet()
    data = _data(source, precision, calibration, calibration_count, metrics)
    with replacing(target, force=force) as temporary:
        temporary.mkdir()
        manifest = _write(source, file, temporary, formats, opset, weights, precision, data, reporter)
        reporter.start("proving parity in a separate process", 1)
        try:
            report = prove(temporary, source.path)
            report.require()
        finally:
            reporter.finish()
        if precision != "float32":
            _measure(report, source, weights, Bundle(temporary, manifest), data, metrics, reporter)
        complete(temporary, manifest, report)
    return Bundle.open(target)


def _formats(name: str) -> tuple[GraphFormat, ...]:
    if name == "all":
        return tuple(SUFFIXES)
    if name not in SUFFIXES:
        raise ConfigError(f"unknown format '{name}'; choose {', '.join(SUFFIXES)} or all")
    return (name,)


def _data(
    run: Run, precision: Precision, path: str | Path | None, count: int, metrics: Metrics | None
) -> Calibration | None:
    """Return the sequences that int8 is calibrated on and errors are measured on; float16 can do without."""
    if precision == "float32":
        if path is not None or metrics is not None:
            raise ConfigError(
                "calibration and metrics belong to --precision int8 and float16: float32 graphs are exact"
            )
        return None
    try:
        return calibration_of(run, path, count)
    except MissingFileError:
        if precision == "int8" or path is not None:
            raise
        return None


def _write(
    run: Run,
    weights: Path,
    folder: Path,
    formats: tuple[GraphFormat, ...],
    opset: int,
    which: Weights,
    precision: Precision,
    data: Calibration | None,
    reporter: Reporter,
) -> Manifest:
    """Write graphs, golden vectors and a first manifest into `folder`."""
    from sdkit.methods.graphs import verbs

    config = run.config
    model = run.load_model(which)
    widths, element, modules = model.widths, model.facts.element, model.graphs()
    contract = signatures(modules, element, widths, model.max_steps)
    reference = verbs(model)
    golden_file = folder / "golden.npz"
    vectors = golden(reference, scale_of(model.facts), drawn=precision != "float32")
    np.savez_compressed(golden_file, **vectors)  # type: ignore[arg-type]
    modules = {name: compiled(module.eval()) for name, module in modules.items()}
    specs: dict[str, GraphSpec] = {}
    provenance = _provenance(run, config, weights, which)
    reporter.start("exporting graphs", len(modules) * len(formats))
    for name in contract:
        module = modules[name]
        files, metadata = {}, _metadata(name, contract[name], config, provenance)
        for format_ in formats:
            files[format_] = _write_graph(
                format_, module.eval(), contract[name], folder / name, opset, metadata, precision
            )
            reporter.advance()
        specs[name] = GraphSpec(contract[name].inputs, contract[name].outputs, files)
    reporter.finish()
    if precision != "float32":
        feeds = graph_feeds(reference, data.sequences) if data is not None and precision == "int8" else {}
        specs = _convert(folder, specs, precision, feeds, reporter)
    manifest = _manifest(model, run, specs, file_spec(folder, golden_file.name), provenance)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def _manifest(
    model: "Method", run: Run, specs: dict[str, GraphSpec], golden_file: FileSpec, provenance: Provenance
) -> Manifest:
    abilities = model.abilities
    return Manifest(
        element=model.facts.element,
        widths=model.widths,
        graphs=specs,
        method=model.name,
        variant=model.variant_of(model.settings),
        settings=msgspec.to_builtins(model.settings),
        capabilities=abilities.verbs,
        refusals=dict(abilities.refusals),
        steps=run.config.data.steps,
        max_steps=model.max_steps,
        feature_mean=model.facts.feature_mean,
        feature_std=model.facts.feature_std,
        files={"golden": golden_file},
        provenance=provenance,
    )


def _write_graph(
    format_: GraphFormat,
    module: Any,
    signature: Signature,
    stem: Path,
    opset: int,
    metadata: Mapping[str, str],
    precision: Precision,
) -> FileSpec:
    path = stem.with_name(stem.name + SUFFIXES[format_])
    if format_ == "onnx":
        return write_onnx(module, signature, path, opset=opset, metadata=metadata, precision=precision)
    return write_torchscript(module, signature, path, metadata=metadata)


def _convert(
    folder: Path,
    specs: Mapping[str, GraphSpec],
    precision: Precision,
    feeds: Mapping[str, Mapping[str, Array]],
    reporter: Reporter,
) -> dict[str, GraphSpec]:
    reporter.start(f"converting to {precision}", 1)
    try:
        files = convert(folder, {name: spec.files["onnx"] for name, spec in specs.items()}, precision, feeds)
    finally:
        reporter.finish()
    return {name: msgspec.structs.replace(spec, files={"onnx": files[name]}) for name, spec in specs.items()}


def _metadata(graph: str, signature: Signature, config: RunConfig, provenance: Provenance) -> dict[str, str]:
    contract = {
        "graph": graph,
        "element": msgspec.to_builtins(config.facts.element),
        "inputs": msgspec.to_builtins(signature.inputs),
        "outputs": msgspec.to_builtins(signature.outputs),
        "method": config.method,
    }
    return {
        "sdkit.version": __version__,
        "sdkit.contract": json.dumps(contract),
        "sdkit.weights_sha256": provenance.weights_sha256,
    }


def _provenance(run: Run, config: RunConfig, weights: Path, which: str) -> Provenance:
    return Provenance(
        sdkit_version=__version__,
        torch_version=config.torch_version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        run=run.name,
        weights=which,
        weights_sha256=sha256(weights),
        epochs=len(run.metrics()),
        data=config.data.name or Path(config.data.path).name,
        data_source=config.data.source,
        data_licence=config.data.licence,
        seed=config.train.seed,
        preset=config.preset,
        commit=config.commit,
    )


def _measure(
    report: Report,
    run: Run,
    which: Weights,
    bundle: Bundle,
    data: Calibration | None,
    metrics: Metrics | None,
    reporter: Reporter,
) -> None:
    """Measure the errors of a lower precision. The graphs ran in a process of their own before: none crashes."""
    from sdkit.methods.graphs import verbs

    reference, candidate = verbs(run.load_model(which)), Runtime(bundle, OnnxBackend(bundle, "cpu"))
    if data is not None and "encode" not in reference.abilities.refusals:
        reporter.start("measuring errors on held-out sequences", 1)
        try:
            count = len(data.sequences) if bundle.manifest.precision == "int8" else 0
            scale = scale_of(bundle.manifest)
            x, name = data.held_out, data.name
            report.errors = measure_errors(reference, candidate, x, scale, data=name, calibrated_on=count)
        finally:
            reporter.finish()
    if metrics is not None:
        report.metrics = metrics(candidate, reference)


def complete(folder: Path, manifest: Manifest, report: Report) -> None:
    """Write report and model card, then the manifest with the digest of every file."""
    (folder / "parity.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    (folder / "MODEL_CARD.md").write_text(model_card(manifest, report), "utf-8")
    files = {**manifest.files, "parity": file_spec(folder, "parity.json"), "card": file_spec(folder, "MODEL_CARD.md")}
    (folder / "manifest.json").write_bytes(msgspec.structs.replace(manifest, files=files).to_json())
