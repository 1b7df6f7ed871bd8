"""Runs and bundles of tiny models that were never trained: what export and runtime do depends on no training."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from sdkit.export import bundle as bundle_module
from sdkit.export.proof import parity
from sdkit.export.proof.cases import sample, scale_of
from sdkit.export.proof.parity import Report
from sdkit.export.proof.verification import verify
from sdkit.methods.base import Batch, Method
from sdkit.runtime.bundles.bundle import Bundle, file_spec
from sdkit.runtime.bundles.format1 import Letters, Manifest1
from sdkit.runtime.bundles.manifest import Manifest, digest
from sdkit.runtime.bundles.specs import GraphSpec, TensorSpec
from sdkit.runtime.contract import STEP, VERBS, needed
from sdkit.runtime.element import Array, Element
from sdkit.runtime.storage.sequences import SequenceMeta, SequenceWriter
from sdkit.training.config import TrainConfig
from sdkit.training.run import DataInfo, Run, RunConfig
from tests.tiny import tiny_model

OFFLINE = needed(verb for verb in VERBS if verb != "stream")
"""The graphs of a model that cannot run online: encoder, static, dynamic, decoder, prior."""
Sizes = tuple[tuple[int, int], ...]
FEW: Sizes = ((4, 2), (1, 9))
"""Of all sizes of cases the shortest sequence, the smallest batch, and more steps than the traced example has."""


def lively_model(variant: str | None = None, **changes: Any) -> Method:
    """Return a tiny model whose pictures of different codes differ by many grey levels, so that a wrong one is seen."""
    model = tiny_model(variant, **changes)
    with torch.no_grad():
        for part in (model.encoder, model.decoder):
            for value in part.parameters():
                if value.ndim > (2 if changes.get("initialised", True) else 1):
                    value.mul_(2.5)
        x = sample(model.facts.element, 16, 6, 1, scale_of(model.facts))
        model.finish([Batch(torch.from_numpy(x), torch.arange(len(x)))])
        prior: Any = getattr(model, "fitted_prior", None)
        if prior is not None:
            # The codes of so few sequences are one cluster; a prior of two is what a host may get wrong.
            codes = torch.randn(200, int(model.settings.static_size), generator=torch.Generator().manual_seed(4))
            codes[:60] = 0.3 * codes[:60] - 2.0
            prior.fit(codes)
    return model


def write_run(folder: Path, model: Method, steps: int = 5) -> Run:
    """Write a run folder of a model, as training leaves it after an epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("best", "last"):
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    data = DataInfo("none.h5", "blocks", steps=steps)
    settings = msgspec.to_builtins(model.settings)
    config = RunConfig(model.name, settings, model.facts, TrainConfig(), data, "", "0.1.0", "2.13", "c0ffee")
    (folder / "config.json").write_bytes(msgspec.json.encode(config))
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\n')
    return Run(folder)


def write_data(path: Path, element: Element, count: int = 24, steps: int = 4, lengths: Array | None = None) -> Path:
    """Write a sequence file of an element, a quarter of which is a validation split."""
    with SequenceWriter(path, SequenceMeta(element, name="blocks")) as writer:
        writer.write(sample(element, count, steps, 3))
        train = count * 3 // 4
        writer.splits({"train": range(train), "val": range(train, count)})
        if lengths is not None:
            writer.put("lengths", lengths)
    return path


def prove_here(patch: pytest.MonkeyPatch) -> None:
    """Let exports be proven in this process, which is several times faster than one of their own."""

    def prove(folder: Path, source: Path) -> Report:
        formats = Bundle.open(folder).manifest.formats
        return verify(folder, run=source, backend="torchscript" if "torchscript" in formats else "onnx")

    patch.setattr(bundle_module, "prove", prove)


def quick_export(run: Run, path: Path | None = None, *, sizes: Sizes = FEW, **options: Any) -> Bundle:
    """Export a run and prove it in this process, on cases of these sizes (B, T)."""
    with pytest.MonkeyPatch.context() as patch:
        prove_here(patch)
        patch.setattr(parity, "SIZES", sizes)
        return bundle_module.export_bundle(run, path, **options)


def copy(bundle: Bundle, folder: Path) -> Bundle:
    """Return a copy of a bundle, far from its run."""
    shutil.copytree(bundle.path, folder)
    return Bundle(folder, bundle.manifest)


def reseal(bundle: Bundle, **changes: Any) -> None:
    """Write a changed manifest with a digest that fits."""
    write_manifest(bundle.path, msgspec.structs.replace(bundle.manifest, **changes))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest, sealed."""
    (folder / "manifest.json").write_bytes(manifest.to_json())


def swap_graph_file(bundle: Bundle, graph: str, source: Path) -> Bundle:
    """Put another ONNX file in a graph's place, with a manifest that vouches for it."""
    name = bundle.manifest.graphs[graph].files["onnx"].path
    shutil.copyfile(source, bundle.path / name)
    old = bundle.manifest.graphs[graph]
    spec = msgspec.structs.replace(old, files={**old.files, "onnx": file_spec(bundle.path, name)})
    manifest = msgspec.structs.replace(bundle.manifest, graphs={**bundle.manifest.graphs, graph: spec})
    write_manifest(bundle.path, manifest)
    return Bundle(bundle.path, manifest)


def as_format1(bundle: Bundle, *, step: bool = True) -> Bundle:
    """Rewrite a bundle of dbse as sdkit wrote it in format 1, and before there were streams where not `step`."""
    settings, widths = bundle.manifest.settings, bundle.manifest.widths
    left_out = () if step else ("in:state", "in:element_features", "out:stream()", f"out:{STEP}")
    with np.load(bundle.file("golden")) as file:
        golden = {_of_then(name): value for name, value in file.items() if not name.startswith(left_out or "none")}
    np.savez_compressed(bundle.file("golden"), **golden)
    graphs = {}
    for name, graph in bundle.manifest.graphs.items():
        if name == STEP and not step:
            continue
        files = dict(graph.files)
        if "onnx" in files:
            _rename_onnx(bundle.path / files["onnx"].path)
            files["onnx"] = file_spec(bundle.path, files["onnx"].path)
        inputs, outputs = (tuple(_renamed(tensor) for tensor in side) for side in (graph.inputs, graph.outputs))
        graphs[name] = GraphSpec(inputs, outputs, files)
    element = msgspec.to_builtins(bundle.manifest.element)
    old = Manifest1(
        element=bundle.manifest.element,
        letters=Letters(widths.static_size, widths.dynamic_size, widths.features, widths.context),
        graphs=graphs,
        steps=bundle.manifest.steps,
        anchor=settings["anchor"],
        anchor_dynamic=settings["anchor_dynamic"],
        causal=settings["filter"] or not settings["bidirectional"],
        variant=bundle.manifest.variant,
        model={"element": element, "feature_mean": [], "feature_std": [], **settings},
        files={"golden": file_spec(bundle.path, "golden.npz")},
        provenance=bundle.manifest.provenance,
    )
    sealed = msgspec.structs.replace(old, digest=digest(old))
    (bundle.path / "manifest.json").write_bytes(msgspec.json.encode(sealed))
    return Bundle.open(bundle.path)


def _of_then(name: str) -> str:
    """Return the name of a tensor, or of an array of one, in format 1."""
    return name.replace("context", "static_hidden")


def _renamed(tensor: TensorSpec) -> TensorSpec:
    return msgspec.structs.replace(tensor, name=_of_then(tensor.name))


def _rename_onnx(path: Path) -> None:
    proto = onnx.load(str(path))
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = _of_then(value.name)
    for node in proto.graph.node:
        node.input[:] = [_of_then(name) for name in node.input]
        node.output[:] = [_of_then(name) for name in node.output]
    onnx.save(proto, str(path))
