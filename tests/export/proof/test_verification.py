"""A bundle is proven again with whatever is there: weights, the other format, or its golden vectors."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.export.proof.parity import Report, Row
from sdkit.export.proof.verification import verify
from sdkit.runtime.bundles.bundle import Bundle, file_spec
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.errors import BundleError, DigestError, MissingExtraError, MissingFileError, ParityError
from sdkit.training.run import Run
from tests.export.runs import as_format1, copy, lively_model, quick_export, reseal, swap_graph_file, write_run

BOTH = {"onnx on cpu", "torchscript on cpu"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where no run is near."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDKIT_RUN", raising=False)
    monkeypatch.delenv("SDKIT_BUNDLE", raising=False)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the bundle of another model."""
    return quick_export(write_run(tmp_path_factory.mktemp("other") / "run", lively_model(seed=1)), format="all")


def candidates(report: Report) -> set[str]:
    return {row.candidate for row in report.rows}


def bad(report: Report) -> list[Row]:
    return [row for row in report.rows if not row.ok]


def run_of(bundle: Bundle, reference: str) -> Path | None:
    return bundle.path.parent if reference == "weights" else None


def format_of(reference: str) -> GraphFormat:
    """Return the format to ask for: with golden vectors as the reference the bundles of these tests have ONNX alone."""
    return "onnx" if reference == "golden" else "torchscript"


def only(bundle: Bundle, format_: str) -> None:
    """Keep one format of a bundle."""
    graphs = {
        name: msgspec.structs.replace(graph, files={f: spec for f, spec in graph.files.items() if f == format_})
        for name, graph in bundle.manifest.graphs.items()
    }
    reseal(bundle, graphs=graphs)


def test_against_the_weights_that_lie_around_the_bundle(mini: Bundle) -> None:
    for path in (mini.path, mini.path.parent):
        report = verify(path, backend="torchscript")
        assert report.ok
        assert report.reference == "the weights in PyTorch"
        assert candidates(report) == BOTH
        assert "numpy" in report.versions


def test_against_the_weights_of_a_run_that_is_named(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "copy")
    report = verify(bundle.path, run=mini.path.parent, backend="torchscript")
    assert report.ok
    assert report.reference == "the weights in PyTorch"


def test_against_the_last_weights_where_the_bundle_was_made_from_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", lively_model())
    save_file(lively_model(seed=1).state_dict(), run.path / "last.safetensors")
    quick_export(run, weights="last")
    report = verify(run.path)
    assert report.ok
    assert report.reference == "the weights in PyTorch"


def test_against_torchscript_and_the_golden_vectors_where_the_run_is_gone(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "copy")
    report = verify(bundle.path, backend="torchscript")
    assert report.ok
    assert report.reference == "the TorchScript graphs and the golden vectors"
    onnx = {(r.batch, r.steps) for r in report.rows if r.candidate == "onnx on cpu"}
    scripts = {(r.batch, r.steps) for r in report.rows if r.candidate == "torchscript on cpu"}
    assert len(onnx) >= 4
    assert scripts == {(2, 3)}  # the golden vectors' size


@pytest.mark.parametrize("format_", ["onnx", "torchscript"])
def test_against_the_golden_vectors_where_there_is_one_format(
    mini: Bundle, tmp_path: Path, format_: GraphFormat
) -> None:
    bundle = copy(mini, tmp_path / "copy")
    only(bundle, format_)
    report = verify(bundle.path, backend=format_)
    assert report.ok
    assert report.reference == "the golden vectors"
    assert candidates(report) == {f"{format_} on cpu"}


BLOCKED = """
import sys
sys.modules["torch"] = None
from sdkit.export.proof.verification import verify
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.errors import MissingExtraError
report = verify(sys.argv[1])
assert report.ok and report.reference == "the golden vectors", report.reference
assert {row.candidate for row in report.rows} == {"onnx on cpu"}
try:
    verify(sys.argv[1], run=sys.argv[2])
except MissingExtraError as error:
    assert "comparing with a run's weights needs PyTorch; pip install 'sdkit[train]'" in str(error)
else:
    sys.exit("compared without PyTorch")
assert sys.modules["torch"] is None and "onnx" not in sys.modules
"""


def test_against_the_golden_vectors_where_there_is_no_pytorch(mini: Bundle) -> None:
    command = [sys.executable, "-c", BLOCKED, str(mini.path), str(mini.path.parent)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


def test_nothing_that_could_run_a_graph(mini: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = copy(mini, tmp_path / "copy")
    for name in ("onnxruntime", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="onnxruntime is not installed"):
        verify(bundle.path)


def test_no_format_is_whole(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "copy")
    graphs = dict(bundle.manifest.graphs)
    prior, static = graphs["prior"], graphs["static"]
    graphs["prior"] = msgspec.structs.replace(prior, files={"onnx": prior.files["onnx"]})
    graphs["static"] = msgspec.structs.replace(static, files={"torchscript": static.files["torchscript"]})
    reseal(bundle, graphs=graphs)
    with pytest.raises(BundleError, match="holds no complete set of onnx graphs"):
        verify(bundle.path)


@pytest.mark.parametrize("step", [True, False], ids=["streams", "no streams"])
@pytest.mark.parametrize("reference", ["weights", "torchscript", "golden"])
def test_bundles_of_format_1(mini: Bundle, tmp_path: Path, reference: str, step: bool) -> None:
    """Also those that were made before there were streams."""
    bundle = copy(mini, tmp_path / "copy")
    if reference == "golden":
        only(bundle, "onnx")
        bundle = Bundle.open(bundle.path)
    old = as_format1(bundle, step=step)
    assert old.manifest.version == 1
    assert old.manifest.ports["dynamic"].inputs == ("features", "static_hidden")
    report = verify(old.path, run=run_of(mini, reference), backend=format_of(reference))
    assert reference in report.reference.lower()
    assert report.ok
    results = {row.result for row in report.rows}
    assert {"reconstruct()/x", "static/context", "encode(seed)/dynamic"} <= results
    assert any("stream" in result for result in results) == any("step" in result for result in results) == step


@pytest.mark.parametrize("reference", ["weights", "golden"])
def test_a_graph_of_another_model_in_a_bundle_of_format_1_is_found(
    mini: Bundle, stranger: Bundle, tmp_path: Path, reference: str
) -> None:
    bundle = swap_in_place(mini, stranger, tmp_path / "copy", "dynamic")
    if reference == "golden":
        only(bundle, "onnx")
        bundle = Bundle.open(bundle.path)
    report = verify(as_format1(bundle).path, run=run_of(mini, reference), backend=format_of(reference))
    assert not report.ok
    wrong = {row.result for row in bad(report)}
    assert {"dynamic/dynamic_mean", "encode()/dynamic", "reconstruct()/x"} <= wrong


# What is wrong is found.


def swap_in_place(mini: Bundle, stranger: Bundle, folder: Path, graph: str) -> Bundle:
    bundle = copy(mini, folder)
    return swap_graph_file(bundle, graph, stranger.graph_file(graph, "onnx"))


@pytest.mark.parametrize("graph", ["encoder", "static", "dynamic", "decoder", "prior", "dynamic_step"])
@pytest.mark.parametrize("reference", ["weights", "torchscript", "golden"])
def test_a_graph_of_another_model_is_found(
    mini: Bundle, stranger: Bundle, tmp_path: Path, graph: str, reference: str
) -> None:
    """The manifest vouches for the file, so that only the numbers can tell."""
    bundle = swap_in_place(mini, stranger, tmp_path / "copy", graph)
    if reference == "golden":
        only(bundle, "onnx")
    report = verify(bundle.path, run=run_of(mini, reference), backend=format_of(reference))
    assert reference in report.reference.lower()
    assert not report.ok
    assert {row.candidate for row in bad(report)} == {"onnx on cpu"}
    wrong = {row.result.partition("/")[0] for row in bad(report) if "()" not in row.result and "seed" not in row.result}
    assert wrong == {graph}
    with pytest.raises(ParityError, match="results differ from the"):
        report.require()


def test_torchscript_runs_on_request_alone(mini: Bundle, tmp_path: Path) -> None:
    """TorchScript is code: this graph writes a file outside its bundle as soon as it is called."""
    bundle = copy(mini, tmp_path / "copy")
    written, name = tmp_path / "written", bundle.manifest.graphs["static"].files["torchscript"].path
    source = (
        "def forward(self, features: torch.Tensor):\n"
        f"    y = torch.from_file({str(written)!r}, True, 4, dtype=torch.float32).fill_(7.0)\n"
        "    return features + y.sum(), features, features\n"  # what has no use is not run
    )
    script = torch.jit.ScriptModule()
    script.define(source)
    script.save(str(bundle.path / name))
    graphs = dict(bundle.manifest.graphs)
    files = {**graphs["static"].files, "torchscript": file_spec(bundle.path, name)}
    reseal(bundle, graphs={**graphs, "static": msgspec.structs.replace(graphs["static"], files=files)})
    report = verify(bundle.path)
    assert report.ok
    assert report.reference == "the golden vectors"
    assert candidates(report) == {"onnx on cpu"}
    result = CliRunner().invoke(app, ["verify", str(bundle.path)])
    assert (result.exit_code, written.exists()) == (0, False), result.output
    with pytest.raises(BundleError, match="graph 'static'"):
        verify(bundle.path, backend="torchscript")
    assert written.exists()  # the test can see it


def test_torchscript_alone_is_not_run_unasked(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "copy")
    only(bundle, "torchscript")
    with pytest.raises(BundleError, match="holds TorchScript graphs alone, which are code; if you trust the bundle"):
        verify(bundle.path)


def test_tampered_files_are_found_before_any_graph_runs(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "copy")
    content = bytearray((bundle.path / "decoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle.path / "decoder.onnx").write_bytes(content)
    with pytest.raises(DigestError, match=r"decoder\.onnx"):
        verify(bundle.path)


def test_tampered_golden_vectors_are_found(mini: Bundle, tmp_path: Path) -> None:
    bundle = copy(mini, tmp_path / "copy")
    with np.load(bundle.file("golden")) as file:
        arrays = dict(file)
    arrays["out:prior/dynamic"][0, 1, 0] += 0.01
    np.savez_compressed(bundle.file("golden"), **arrays)
    only(bundle, "onnx")
    manifest = Bundle(
        bundle.path, msgspec.json.decode((bundle.path / "manifest.json").read_bytes(), type=type(bundle.manifest))
    )
    reseal(manifest, files={**bundle.manifest.files, "golden": file_spec(bundle.path, "golden.npz")})
    assert [row.result for row in bad(verify(bundle.path))] == ["prior/dynamic"]


@pytest.fixture
def tampered(mini: Bundle, tmp_path: Path) -> Run:
    """Return a run, bundle included, whose weights were changed after the export."""
    shutil.copytree(mini.path.parent, tmp_path / "tampered")
    run = Run(tmp_path / "tampered")
    save_file(lively_model(seed=1).state_dict(), run.path / "best.safetensors")
    return run


def test_weights_that_are_not_the_bundles_prove_nothing(tampered: Run) -> None:
    with pytest.raises(MissingFileError, match=r"the best weights of .*tampered are not those that .* was made from"):
        verify(tampered.bundle, run=tampered.path)
    report = verify(tampered.bundle, backend="torchscript")
    assert report.ok
    assert report.reference == "the TorchScript graphs and the golden vectors"
    assert verify(tampered.bundle).reference == "the golden vectors"


def test_runs_and_bundles_that_are_not_there(mini: Bundle, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere is not a run"):
        verify(mini.path, run=tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="nowhere is not a bundle"):
        verify(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    shutil.copytree(mini.path.parent, empty)
    (empty / "best.safetensors").unlink()
    with pytest.raises(MissingFileError, match=r"best\.safetensors does not exist"):
        verify(mini.path, run=empty)
    assert verify(empty).reference == "the golden vectors"


def test_the_bundle_of_a_trained_run(exported: Callable[[str], Bundle]) -> None:
    report = verify(exported("paper").path, backend="torchscript")
    assert report.ok
    assert report.reference == "the weights in PyTorch"
