"""`export_bundle`: a trained run -> a bundle of graphs, proven equal to the model."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from sdkit.export.card import model_card
from sdkit.export.cases import golden, scale_of
from sdkit.export.contract import Signature, signatures
from sdkit.export.parity import Report
from sdkit.export.prove import prove
from sdkit.export.writers import check_opset, compile_loop, write_onnx, write_torchscript
from sdkit.runtime.bundle import Bundle, file_spec, sha256
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.manifest import SUFFIXES, FileSpec, GraphFormat, GraphSpec, Manifest, Provenance
from sdkit.runtime.output import check_output, replacing
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.version import __version__
from sdkit.training.run import Run, RunConfig, find_run

Formats = Literal["onnx", "torchscript", "all"]
Weights = Literal["best", "last"]


def export_bundle(
    run: Run | str | Path | None = None,
    path: str | Path | None = None,
    *,
    format: Formats = "onnx",
    opset: int = 18,
    weights: Weights = "best",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Bundle:
    """Export the graphs of a run and prove them, in a process of their own, against the training model.

    Args:
        run: a run, its folder or name; the newest when None.
        path: the bundle to write; `bundle` in the run's folder when None.
        format: `onnx`, `torchscript` or `all`.
        opset: of ONNX, 17 to 20.
        weights: `best` (lowest validation loss) or `last`.
        force: replace an existing bundle.
        reporter: is told how it goes.

    Raises:
        MissingFileError: no run, or no weights in it yet.
        OutputExistsError: the bundle exists and `force` is off.
        ConfigError: an opset or format that cannot be written.
        ParityError: a graph or verb differs from the model; no bundle is left behind.
    """
    source = run if isinstance(run, Run) else find_run(run)
    formats = _formats(format)
    check_opset(opset)
    if weights not in ("best", "last"):
        raise ConfigError(f"unknown weights '{weights}'; choose best or last")
    file = source.weights(weights)
    target = check_output(path or source.bundle, force=force)
    if target.exists() and not (target / "manifest.json").is_file():
        raise ConfigError(f"{target} exists and is not a bundle; it is not replaced, choose another output")
    reporter = reporter or Quiet()
    with replacing(target, force=force) as temporary:
        temporary.mkdir()
        manifest = _write(source, file, temporary, formats, opset, weights, reporter)
        reporter.start("proving parity in a separate process", 1)
        try:
            report = prove(temporary, source.path)
            report.require()
        finally:
            reporter.finish()
        _complete(temporary, manifest, report)
    return Bundle.open(target)


def _formats(name: str) -> tuple[GraphFormat, ...]:
    if name == "all":
        return tuple(SUFFIXES)
    if name not in SUFFIXES:
        raise ConfigError(f"unknown format '{name}'; choose {', '.join(SUFFIXES)} or all")
    return (name,)


def _write(
    run: Run,
    weights: Path,
    folder: Path,
    formats: tuple[GraphFormat, ...],
    opset: int,
    which: Weights,
    reporter: Reporter,
) -> Manifest:
    """Write graphs, golden vectors and a first manifest into `folder`."""
    from sdkit.models.graphs import graphs, letters, online, verbs

    config = run.config
    model = run.load_model(which)
    widths, modules = letters(model), graphs(model)
    contract = signatures(config.model, widths, model.decoder.outputs, online(model).state_size)  # type: ignore[arg-type]
    golden_file = folder / "golden.npz"
    np.savez_compressed(golden_file, **golden(verbs(model), scale_of(msgspec.to_builtins(config.model))))  # type: ignore[arg-type]
    modules["prior"] = compile_loop(modules["prior"].eval())
    specs: dict[str, GraphSpec] = {}
    provenance = _provenance(run, config, weights, which)
    reporter.start("exporting graphs", len(modules) * len(formats))
    for name, module in modules.items():
        files, metadata = {}, _metadata(name, contract[name], config, provenance)
        for format_ in formats:
            files[format_] = _write_graph(format_, module.eval(), contract[name], folder / name, opset, metadata)
            reporter.advance()
        specs[name] = GraphSpec(*contract[name], files)
    reporter.finish()
    manifest = Manifest(
        element=config.model.element,
        letters=widths,
        graphs=specs,
        steps=config.data.steps,
        anchor=config.model.anchor,
        anchor_dynamic=config.model.anchor_dynamic,
        causal=config.model.causal,
        variant=config.model.variant,
        model=msgspec.to_builtins(config.model),
        files={"golden": file_spec(folder, golden_file.name)},
        provenance=provenance,
    )
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def _write_graph(
    format_: GraphFormat, module: Any, signature: Signature, stem: Path, opset: int, metadata: Mapping[str, str]
) -> FileSpec:
    path = stem.with_name(stem.name + SUFFIXES[format_])
    if format_ == "onnx":
        return write_onnx(module, signature, path, opset=opset, metadata=metadata)
    return write_torchscript(module, signature, path, metadata=metadata)


def _metadata(graph: str, signature: Signature, config: RunConfig, provenance: Provenance) -> dict[str, str]:
    contract = {
        "graph": graph,
        "element": msgspec.to_builtins(config.model.element),
        "inputs": msgspec.to_builtins(signature[0]),
        "outputs": msgspec.to_builtins(signature[1]),
        "anchor": config.model.anchor,
        "anchor_dynamic": config.model.anchor_dynamic,
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


def _complete(folder: Path, manifest: Manifest, report: Report) -> None:
    """Write report and model card, then the manifest that vouches for every file."""
    (folder / "parity.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    (folder / "MODEL_CARD.md").write_text(model_card(manifest, report), "utf-8")
    files = {**manifest.files, "parity": file_spec(folder, "parity.json"), "card": file_spec(folder, "MODEL_CARD.md")}
    (folder / "manifest.json").write_bytes(msgspec.structs.replace(manifest, files=files).to_json())
