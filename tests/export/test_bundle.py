"""What an export writes, and that it leaves a proven bundle or nothing."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from sdkit.export import bundle as bundle_module
from sdkit.export.bundle import export_bundle
from sdkit.export.card import model_card
from sdkit.export.proof import prove as prove_module
from sdkit.export.proof.cases import SIZES
from sdkit.export.proof.check import check_onnx_files
from sdkit.export.proof.parity import Report, Row, read_report
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import Bundle, sha256
from sdkit.runtime.contract import STEP, VERBS
from sdkit.runtime.errors import (
    ConfigError,
    ManifestError,
    MissingExtraError,
    MissingFileError,
    OutputExistsError,
    ParityError,
)
from sdkit.runtime.runtime import Runtime
from sdkit.training.run import Run
from tests.export.runs import OFFLINE, copy, lively_model, quick_export, swap_graph_file, write_run
from tests.tiny import sequences

RESULTS = {
    "encoder/features",
    *(f"static/{name}" for name in ("static_mean", "static_std", "context")),
    *(f"dynamic/{name}" for name in ("dynamic_mean", "dynamic_std")),
    "decoder/x",
    *(f"prior/{name}" for name in ("dynamic", "dynamic_mean")),
    *(f"{verb}/{code}" for verb in ("encode()", "encode(seed)") for code in ("static", "dynamic")),
    *(f"{verb}()/x" for verb in ("decode", "reconstruct", "generate", "resample_static", "resample_dynamic")),
    *(f"swap()/{name}" for name in ("a_with_b", "b_with_a")),
    *(f"dynamic_step/{name}" for name in ("static_mean", "dynamic_mean", "dynamic_std", "next_state")),
    *(f"stream()/{name}" for name in ("static", "dynamic", "x")),
}
"""Every graph's every output, every verb's every result, and those of live streams."""


class Stages:
    """A reporter that keeps what it is told, and may interrupt."""

    def __init__(self, interrupt: bool = False) -> None:
        self.interrupt, self.told = interrupt, list[Any]()

    def start(self, what: str, total: int) -> None:
        self.told.append((what, total))

    def advance(self, count: int = 1, **fields: float) -> None:
        self.told.append(count)
        if self.interrupt:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        pass

    def finish(self) -> None:
        self.told.append("finished")


def left(run: Run) -> list[str]:
    """Return what lies in a run's folder."""
    return sorted(path.name for path in run.path.iterdir())


FRESH = ["best.safetensors", "config.json", "last.safetensors", "metrics.jsonl"]


# What a bundle holds.


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_a_trained_run_is_exported_in_both_formats_and_proven(
    trained: Callable[[str], Run], exported: Callable[[str], Bundle], variant: str
) -> None:
    """The paper's is proven in a process of its own, as a user's is."""
    run, bundle = trained(variant), exported(variant)
    assert bundle.path == run.bundle
    assert bundle.manifest.formats == ("onnx", "torchscript")
    assert (bundle.manifest.method, bundle.manifest.variant) == ("dbse", variant)
    online = variant == "paper"
    assert bundle.manifest.capabilities == tuple(verb for verb in VERBS if online or verb != "stream")
    assert list(bundle.manifest.refusals) == ([] if online else ["stream"])
    assert tuple(bundle.manifest.graphs) == ((*OFFLINE, STEP) if online else OFFLINE)
    report = read_report(bundle)
    assert report.ok
    assert report.reference == "the weights in PyTorch"
    assert {row.candidate for row in report.rows} == {"onnx on cpu", "torchscript on cpu"}
    assert {(row.batch, row.steps) for row in report.rows} == set(SIZES)
    model, x = verbs(run.load_model()), sequences(3, 11, run.config.facts.element)
    for format_ in bundle.manifest.formats:
        codes = Runtime.open(bundle.path, device="cpu", backend=format_).encode(x)
        np.testing.assert_allclose(codes.dynamic, model.encode(x).dynamic, atol=1e-5)


def test_parity_covers_every_graph_and_verb_at_edge_sizes(mini: Bundle) -> None:
    rows = read_report(mini).rows
    sizes = {(row.batch, row.steps) for row in rows}
    assert len(sizes) >= 3
    assert {batch for batch, _ in sizes} > {1}
    assert {steps for _, steps in sizes} > {2}
    for candidate in ("onnx on cpu", "torchscript on cpu"):
        for size in sizes:
            found = [r.result for r in rows if r.candidate == candidate and (r.batch, r.steps) == size]
            assert sorted(found) == sorted(RESULTS)
    assert all(row.ok and 0 <= row.max_abs <= row.atol + row.rtol * 255 for row in rows)
    assert {"torch", "onnx", "numpy", "python"} <= set(read_report(mini).versions)


@pytest.mark.parametrize("opset", [17, 18, 19, 20])
def test_onnx_files_are_what_the_manifest_says(run: Run, opset: int) -> None:
    bundle = quick_export(run, opset=opset)
    assert tuple(bundle.manifest.graphs) == (*OFFLINE, STEP)
    for name, graph in bundle.manifest.graphs.items():
        spec = graph.files["onnx"]
        proto = onnx.load(str(bundle.path / spec.path))
        onnx.checker.check_model(proto, full_check=True)
        assert {entry.domain: entry.version for entry in proto.opset_import} == {"": opset}
        assert (spec.opset, spec.ir_version) == (opset, proto.ir_version)
        assert proto.ir_version <= 10
        for values, tensors in ((proto.graph.input, graph.inputs), (proto.graph.output, graph.outputs)):
            assert [value.name for value in values] == [tensor.name for tensor in tensors]
            for value, tensor in zip(values, tensors, strict=True):
                dims = value.type.tensor_type.shape.dim
                assert [dim.dim_param or dim.dim_value for dim in dims] == list(tensor.shape)
                assert tensor.shape[0] == "B"
                dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                assert dtype == np.dtype(tensor.dtype)
        random = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
        assert not random & {node.op_type for node in proto.graph.node}
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        contract = json.loads(metadata["sdkit.contract"])
        assert contract["graph"] == name
        assert contract["inputs"] == json.loads(msgspec.json.encode(graph.inputs))
        assert contract["outputs"] == json.loads(msgspec.json.encode(graph.outputs))
        assert contract["element"] == json.loads(msgspec.json.encode(bundle.manifest.element))
        assert contract["method"] == "dbse"
        assert metadata["sdkit.version"] == bundle.manifest.provenance.sdkit_version
        assert metadata["sdkit.weights_sha256"] == sha256(run.weights())
    check_onnx_files(bundle)


def test_tensors_of_the_contract(mini: Bundle) -> None:
    def told(tensors: Any) -> list[Any]:
        return [(t.name, t.dtype, t.shape) for t in tensors]

    widths = mini.manifest.widths
    g, s, d, h = widths.features, widths.static_size, widths.dynamic_size, widths.context
    assert (g, s, d, h) == (32, 5, 4, 6)
    graphs, x = mini.manifest.graphs, ("B", "T", 3, 16, 16)
    features = ("features", "float32", ("B", "T", g))
    context = ("context", "float32", ("B", h))
    assert told(graphs["encoder"].inputs) == [("x", "uint8", x)]
    assert told(graphs["encoder"].outputs) == told(graphs["static"].inputs) == [features]
    assert told(graphs["static"].outputs) == [
        ("static_mean", "float32", ("B", s)),
        ("static_std", "float32", ("B", s)),
        context,
    ]
    assert told(graphs["dynamic"].inputs) == [features, context]
    assert [name for name, *_ in told(graphs["dynamic"].outputs)] == ["dynamic_mean", "dynamic_std"]
    assert told(graphs["decoder"].inputs) == [
        ("static", "float32", ("B", s)),
        ("dynamic", "float32", ("B", "T", d)),
    ]
    assert told(graphs["decoder"].outputs) == [("x", "float32", x)]
    assert told(graphs["prior"].inputs) == [("noise", "float32", ("B", "T", d))]
    assert [name for name, *_ in told(graphs["prior"].outputs)] == ["dynamic", "dynamic_mean"]
    k = 1 + g + 2 * h
    assert told(graphs[STEP].inputs) == [
        ("element_features", "float32", ("B", 1, g)),
        ("state", "float32", ("B", k)),
    ]
    assert told(graphs[STEP].outputs) == [
        ("static_mean", "float32", ("B", s)),
        ("dynamic_mean", "float32", ("B", 1, d)),
        ("dynamic_std", "float32", ("B", 1, d)),
        ("next_state", "float32", ("B", k)),
    ]


def test_manifest_tells_where_the_bundle_comes_from(mini: Bundle) -> None:
    run, manifest = Run(mini.path.parent), mini.manifest
    p = manifest.provenance
    assert (p.run, p.weights, p.weights_sha256, p.epochs) == ("run", "best", sha256(run.weights()), 1)
    assert (p.data, p.seed, p.commit, p.torch_version) == ("blocks", 0, "c0ffee", "2.13")
    assert p.created.endswith("+00:00")
    assert (manifest.steps, manifest.max_steps) == (5, None)
    assert (manifest.settings["anchor"], manifest.settings["anchor_dynamic"]) == ("first", "zero")
    method = run.config.plan.method
    assert (manifest.method, manifest.variant) == (method.name, run.config.plan.variant)
    assert msgspec.convert(manifest.settings, method.Settings) == run.config.plan.settings


@pytest.mark.parametrize("method", ["image", "vae", "gpvae", "mocogan", "dsvae"])
def test_a_card_says_of_a_model_what_it_does(mini: Bundle, method: str) -> None:
    bundle = Bundle.open(Path(__file__).parents[1] / "conformance" / method)
    verbs = bundle.manifest.capabilities
    card = model_card(bundle.manifest, read_report(mini))
    assert ("a static/dynamic split of" in card) == ("swap" in verbs)
    assert ("splits a sequence into one static code" in card) == ("swap" in verbs)
    assert ("does not split it into what stays and what moves: its method has no static code." in card) == (
        "encode" in verbs and "swap" not in verbs
    )
    assert ("encodes none: its method has no encoder." in card) == ("encode" not in verbs)
    assert ("are encoded without a warning" in card) == ("encode" in verbs)


def test_texts_of_data_stay_in_their_cell(mini: Bundle) -> None:
    provenance = msgspec.structs.replace(
        mini.manifest.provenance, data="a\n# b", data_source="x | y\x1b[2J\n\n<b>", data_licence="z" * 9000
    )
    card = model_card(msgspec.structs.replace(mini.manifest, provenance=provenance), read_report(mini))
    assert "# run: a static/dynamic split of a # b\n" in card
    assert "| source of the data | x \\| y [2J  <b> |" in card
    assert max(map(len, card.splitlines())) < 700


def test_model_card(mini: Bundle, tmp_path: Path) -> None:
    card = mini.file("card").read_text("utf-8")
    assert card.startswith("# run: a static/dynamic split of blocks\n")
    for words in (
        "| element | image (3, 16, 16) uint8 |",
        "| codes | static S = 5, dynamic D = 4 a step |",
        "| method | dbse, variant paper |",
        f"| verbs | {', '.join(VERBS)} |",
        "| trained on | blocks, T = 5, 1 epochs, seed 0 |",
        f"| weights | best, SHA-256 `{mini.manifest.provenance.weights_sha256}` |",
        "| licence of the data | not stated |",
        'rt = Runtime.open(".")',
        "x (B, T, 3, 16, 16) uint8",
        "| encoder | `x` (B, T, 3, 16, 16) uint8 | `features` (B, T, 32) float32 |",
        "step = rt.stream(len(x)).push(x[:, 0])",
        "| dynamic_step | `element_features` (B, 1, 32) float32<br>`state` (B, 45) float32 |",
        "| onnx on cpu | 108 | ",
        "| torchscript on cpu | 108 | ",
    ):
        assert words in card
    only = quick_export(Run(mini.path.parent), tmp_path / "scripts", format="torchscript")
    assert 'rt = Runtime.open(".", backend="torchscript")' in only.file("card").read_text("utf-8")


def test_a_model_that_cannot_run_online_promises_no_streams(tmp_path: Path) -> None:
    bundle = quick_export(write_run(tmp_path / "run", lively_model("release")))
    assert tuple(bundle.manifest.graphs) == OFFLINE
    assert not (bundle.path / "dynamic_step.onnx").exists()
    card = bundle.file("card").read_text("utf-8")
    assert "| no stream | its LSTM is bidirectional, so no dynamic code is known before the last element; " in card
    assert "rt.stream" not in card
    found = {row.result for row in read_report(bundle).rows}
    assert found == {name for name in RESULTS if not name.startswith((STEP, "stream"))}


@pytest.mark.parametrize(
    ("format_", "formats", "suffixes"),
    [("onnx", ("onnx",), {".onnx"}), ("torchscript", ("torchscript",), {".pt"}), ("all", None, {".onnx", ".pt"})],
)
def test_formats(run: Run, format_: Any, formats: Any, suffixes: set[str]) -> None:
    bundle = quick_export(run, format=format_)
    assert bundle.manifest.formats == (formats or ("onnx", "torchscript"))
    found = {path.suffix for path in bundle.path.iterdir()}
    assert found == suffixes | {".json", ".md", ".npz"}


def test_best_and_last_weights(run: Run, tmp_path: Path) -> None:
    save_file(lively_model(seed=1).state_dict(), run.path / "last.safetensors")
    x = sequences(2, 4)
    for which in ("best", "last"):
        bundle = quick_export(run, tmp_path / which, weights=which)
        assert bundle.manifest.provenance.weights == which
        expected = verbs(run.load_model(which)).encode(x).static
        np.testing.assert_allclose(Runtime.open(bundle.path, device="cpu").encode(x).static, expected, atol=1e-5)
    best, last = (Runtime.open(tmp_path / which, device="cpu").encode(x).static for which in ("best", "last"))
    assert np.abs(best - last).max() > 0.1


def test_the_newest_run_is_exported_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDKIT_RUN", raising=False)
    with pytest.raises(MissingFileError, match="there is no run under"):
        export_bundle()
    write_run(tmp_path / "runs" / "only", lively_model())
    with pytest.raises(MissingFileError, match="other is not a run"):
        export_bundle("other")
    assert quick_export(None).path == Path("runs/only/bundle")  # type: ignore[arg-type]


def test_reporters_hear_of_every_graph_and_of_the_proof(run: Run) -> None:
    stages = Stages()
    quick_export(run, format="all", reporter=stages)
    assert stages.told == [
        ("exporting graphs", 12),
        *[1] * 12,
        "finished",
        ("proving parity in a separate process", 1),
        "finished",
    ]


# What is refused before any work.


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "_write", lambda *_: pytest.fail("work began"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "tflite"}, "unknown format 'tflite'; choose onnx, torchscript or all"),
        ({"opset": 16}, "opset 16 cannot be written; choose one of 17, 18, 19, 20"),
        ({"opset": 21}, "opset 21 cannot be written"),
        ({"weights": "first"}, "unknown weights 'first'; choose best or last"),
    ],
)
def test_unknown_options(run: Run, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        export_bundle(run, **options)
    assert left(run) == FRESH


@pytest.mark.usefixtures("no_work")
def test_a_run_without_weights(run: Run) -> None:
    run.weights().unlink()
    with pytest.raises(MissingFileError, match=r"best\.safetensors does not exist: no epoch of this run has ended"):
        export_bundle(run)


@pytest.mark.usefixtures("no_work")
def test_nothing_is_overwritten_unasked(mini: Bundle) -> None:
    before = sha256(mini.path / "manifest.json")
    with pytest.raises(OutputExistsError, match="bundle exists already"):
        export_bundle(mini.path.parent)
    assert sha256(mini.path / "manifest.json") == before


@pytest.mark.usefixtures("no_work")
def test_what_is_not_a_bundle_is_never_replaced(run: Run, tmp_path: Path) -> None:
    folder, file = tmp_path / "thesis", tmp_path / "thesis.txt"
    folder.mkdir()
    for path in (folder / "chapter.txt", file):
        path.write_text("years of work")
    for target in (folder, file):
        with pytest.raises(OutputExistsError):
            export_bundle(run, target)
        with pytest.raises(ConfigError, match=f"{target} exists and is not a bundle; it is not replaced"):
            export_bundle(run, target, force=True)
    assert (folder / "chapter.txt").read_text() == file.read_text() == "years of work"
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        export_bundle(run, tmp_path / "nowhere" / "bundle")


def test_force_replaces_a_whole_bundle(run: Run) -> None:
    quick_export(run, format="all")
    (run.bundle / "note.txt").write_text("old")
    assert quick_export(run, force=True).manifest.formats == ("onnx",)
    assert not [path for path in run.bundle.iterdir() if path.name.endswith((".pt", ".txt"))]
    assert left(run) == sorted([*FRESH, "bundle"])


def test_missing_onnx(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"onnx is not installed; pip install 'sdkit\[train\]'"):
        export_bundle(run)
    assert left(run) == FRESH


# A bundle that is not proven does not exist.


def row(result: str, ok: bool, difference: float = 0.0) -> Row:
    return Row("onnx on cpu", result, 1, 2, difference, difference, 1e-5, 1e-4, ok)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("static/static_mean", False, 0.5)], r"1 of 2 results differ .* the worst: static/static_mean of onnx"),
        ([], "nothing was compared against the weights"),
    ],
)
def test_a_report_that_fails_leaves_no_bundle(
    run: Run, monkeypatch: pytest.MonkeyPatch, rows: list[Row], words: str
) -> None:
    rows = [row("encoder/features", True), *rows] if rows else []
    monkeypatch.setattr(bundle_module, "prove", lambda *_: Report("the weights", rows))
    with pytest.raises(ParityError, match=words):
        export_bundle(run)
    assert left(run) == FRESH


def corrupt(monkeypatch: pytest.MonkeyPatch, writer: str, graph: str) -> None:
    """Let a writer export one graph with weights a hundredth off."""
    write = getattr(bundle_module, writer)

    def off(module: Any, signature: Any, path: Path, **options: Any) -> Any:
        if not path.name.startswith(f"{graph}."):
            return write(module, signature, path, **options)
        before = [value.detach().clone() for value in module.parameters()]
        with torch.no_grad():
            for value in module.parameters():
                value.mul_(1.01)
        spec = write(module, signature, path, **options)
        with torch.no_grad():
            for value, old in zip(module.parameters(), before, strict=True):
                value.copy_(old)
        return spec

    monkeypatch.setattr(bundle_module, writer, off)


@pytest.mark.parametrize("graph", [*OFFLINE, STEP])
@pytest.mark.parametrize(("format_", "writer"), [("onnx", "write_onnx"), ("torchscript", "write_torchscript")])
def test_weights_a_hundredth_off_are_caught(
    run: Run, monkeypatch: pytest.MonkeyPatch, graph: str, format_: str, writer: str
) -> None:
    corrupt(monkeypatch, writer, graph)
    with pytest.raises(ParityError, match=rf"results differ from the weights in PyTorch; .* of {format_} on cpu at B="):
        quick_export(run, format=format_)
    assert left(run) == FRESH


def test_the_process_of_its_own_catches_them_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_export(run)
    before = sha256(run.bundle / "manifest.json")
    corrupt(monkeypatch, "write_onnx", "prior")
    with pytest.raises(ParityError) as caught:
        export_bundle(run, force=True)
    message = str(caught.value)
    assert "results differ from the weights in PyTorch; the worst: " in message
    assert "\n" not in message
    assert left(run) == sorted([*FRESH, "bundle"])
    assert sha256(run.bundle / "manifest.json") == before  # the bundle that was proven is still there


def python_that(monkeypatch: pytest.MonkeyPatch, folder: Path, does: str) -> None:
    """Let the process that proves a bundle do something else."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setattr(prove_module, "sys", types.SimpleNamespace(executable=str(script)))


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("kill -SEGV $$", "the process that compares the graphs was killed by signal 11: nothing was printed"),
        ("echo one >&2; echo two >&2; kill -9 $$", "was killed by signal 9: two"),
        ("echo Traceback >&2; echo 'ValueError: no' >&2; exit 1", "the graphs failed: ValueError: no"),
        ("exit 0", "printed no report"),
        ("echo hello", "printed no report"),
    ],
    ids=["segmentation fault", "killed", "traceback", "silent", "other words"],
)
def test_a_process_that_dies_proves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, words: str
) -> None:
    python_that(monkeypatch, tmp_path, does)
    with pytest.raises(ParityError, match=words):
        export_bundle(run)
    assert left(run) == FRESH


def test_interrupted_work_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(run, reporter=stages)
    assert left(run) == FRESH

    def interrupted(*_: Any) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module, "prove", interrupted)
    stages = Stages()
    with pytest.raises(KeyboardInterrupt):
        export_bundle(run, reporter=stages)
    assert stages.told[-1] == "finished"
    assert left(run) == FRESH


# Structure.


def changed_onnx(bundle: Bundle, graph: str, change: Callable[[Any], None], folder: Path) -> Path:
    """Write a changed copy of a graph's ONNX file."""
    proto = onnx.load(str(bundle.graph_file(graph, "onnx")))
    change(proto)
    path = folder / "changed.onnx"
    onnx.save(proto, str(path))
    return path


def freeze(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


def rename(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "steps"


def strip(proto: Any) -> None:
    del proto.metadata_props[:]


def mislabel(proto: Any) -> None:
    onnx.helper.set_model_props(proto, {"sdkit.contract": '{"graph": "prior"}'})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (freeze, r"static\.onnx has the tensors .* the manifest says"),
        (rename, r"static\.onnx has the tensors .*'steps'"),
        (strip, r"static\.onnx does not carry its contract"),
        (mislabel, r"static\.onnx does not carry its contract"),
    ],
)
def test_onnx_files_of_other_structure_are_refused(
    mini: Bundle, tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    bundle = copy(mini, tmp_path / "bundle")
    check_onnx_files(bundle)
    bundle = swap_graph_file(bundle, "static", changed_onnx(bundle, "static", change, tmp_path))
    with pytest.raises(ManifestError, match=words):
        check_onnx_files(bundle)


def test_a_changed_structure_fails_the_proof(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "bundle")
    bundle = swap_graph_file(bundle, "static", changed_onnx(bundle, "static", strip, tmp_path))
    with pytest.raises(ParityError, match="does not carry its contract in metadata_props"):
        prove_module.prove(bundle.path, mini.path.parent)
