"""A bundle that is not the one that was exported is refused before anything of it is loaded."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sdkit.runtime.bundles.bundle import Bundle, file_spec, sha256
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import FileSpec
from sdkit.runtime.contract import VERBS
from sdkit.runtime.describe import describe_bundle
from sdkit.runtime.errors import (
    BundleError,
    BundleFileError,
    BundlePathError,
    BundleVersionError,
    DigestError,
    ManifestError,
    MissingFileError,
)
from sdkit.runtime.runtime import Runtime
from tests.export.runs import copy, reseal, write_manifest
from tests.tiny import sequences

GRAPH_FILES = [
    f"{name}.{end}"
    for name in ("encoder", "static", "dynamic", "decoder", "prior", "dynamic_step")
    for end in ("onnx", "ts.pt")
]
FILES = [*GRAPH_FILES, "golden.npz", "parity.json", "MODEL_CARD.md"]


@pytest.fixture
def bundle(mini: Bundle, tmp_path: Path) -> Bundle:
    """Return a copy that may be spoilt."""
    return copy(mini, tmp_path / "bundle")


def redirect(bundle: Bundle, path: str) -> None:
    """Let the manifest name another path for the golden vectors, with size and digest of what lies there."""
    target = bundle.path / path
    known = target.is_file()
    spec = FileSpec(path, sha256(target) if known else "0" * 64, target.stat().st_size if known else 0)
    reseal(bundle, files={**bundle.manifest.files, "golden": spec})


def test_files_are_these_and_no_others(mini: Bundle) -> None:
    assert sorted(path.name for path in mini.path.iterdir()) == sorted([*FILES, "manifest.json"])
    assert sorted(spec.path for spec in mini.specs()) == sorted(FILES)


def test_a_copy_opens_anywhere(bundle: Bundle) -> None:
    assert Bundle.open(bundle.path) == bundle
    assert bundle.graph_file("decoder", "torchscript") == bundle.path / "decoder.ts.pt"
    assert bundle.file("card") == bundle.path / "MODEL_CARD.md"
    for spec in bundle.specs():
        assert file_spec(bundle.path, spec.path).sha256 == spec.sha256


@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_in_any_file_is_noticed(bundle: Bundle, name: str, place: float) -> None:
    content = bytearray((bundle.path / name).read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    (bundle.path / name).write_bytes(content)
    with pytest.raises(DigestError, match=rf"{name} is not the file that was exported \(its bytes changed\)"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("place", [0, 0.2, 0.4, 0.6, 0.8, 1])
def test_a_changed_byte_in_the_manifest_is_noticed(bundle: Bundle, place: float) -> None:
    path = bundle.path / "manifest.json"
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises((ManifestError, BundleVersionError)):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_longer_file_is_named(bundle: Bundle, name: str) -> None:
    with (bundle.path / name).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(DigestError, match=name):
        Bundle.open(bundle.path)
    (bundle.path / name).unlink()
    with pytest.raises(BundleFileError, match=rf"{name} is missing, though the manifest names it"):
        Bundle.open(bundle.path)
    (bundle.path / name).mkdir()
    with pytest.raises(BundleFileError, match=name):
        Bundle.open(bundle.path)


def test_no_graph_is_loaded_before_every_file_is_checked(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sdkit.runtime.engines.onnx_runtime._onnxruntime", lambda: pytest.fail("onnxruntime was asked for")
    )
    (bundle.path / "MODEL_CARD.md").write_text("another card")
    with pytest.raises(DigestError):
        Runtime.open(bundle.path)


def outside_file(bundle: Bundle) -> Path:
    path = bundle.path.parent / "outside.npz"
    shutil.copy(bundle.path / "golden.npz", path)
    return path


def absolute(bundle: Bundle) -> str:
    return str(outside_file(bundle))


def parent(bundle: Bundle) -> str:
    outside_file(bundle)
    return "../outside.npz"


def parent_within(bundle: Bundle) -> str:
    return "inner/../golden.npz"


def through_a_folder(bundle: Bundle) -> str:
    outside_file(bundle)
    (bundle.path / "inner").mkdir()
    return "inner/../../outside.npz"


def link_to_a_file(bundle: Bundle) -> str:
    (bundle.path / "link.npz").symlink_to(outside_file(bundle))
    return "link.npz"


def link_to_a_folder(bundle: Bundle) -> str:
    outside_file(bundle)
    (bundle.path / "link").symlink_to(bundle.path.parent)
    return "link/outside.npz"


def windows(bundle: Bundle) -> str:
    return "..\\outside.npz"


def drive(bundle: Bundle) -> str:
    return "C:outside.npz"


def nothing(bundle: Bundle) -> str:
    return ""


@pytest.mark.parametrize(
    "make",
    [absolute, parent, parent_within, through_a_folder, link_to_a_file, link_to_a_folder, windows, drive, nothing],
    ids=lambda make: make.__name__,
)
def test_paths_out_of_the_bundle_are_refused_whatever_lies_there(bundle: Bundle, make: Callable[[Bundle], str]) -> None:
    path = make(bundle)
    redirect(bundle, path)
    with pytest.raises(BundlePathError) as caught:
        Bundle.open(bundle.path)
    assert f"the manifest points outside the bundle, to '{path}'; do not use this bundle" in str(caught.value)


def test_the_path_of_a_graph_is_checked_like_any_other(bundle: Bundle) -> None:
    graph = bundle.manifest.graphs["static"]
    spec = msgspec.structs.replace(graph.files["torchscript"], path="../static.ts.pt")
    shutil.copy(bundle.path / "static.ts.pt", bundle.path.parent)
    graph = msgspec.structs.replace(graph, files={**graph.files, "torchscript": spec})
    reseal(bundle, graphs={**bundle.manifest.graphs, "static": graph})
    with pytest.raises(BundlePathError, match=r"\.\./static\.ts\.pt"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["golden.pkl", "golden.pt", "golden", "golden.npz.exe"])
def test_only_kinds_of_files_that_a_bundle_holds(bundle: Bundle, name: str) -> None:
    shutil.copy(bundle.path / "golden.npz", bundle.path / name)
    redirect(bundle, name)
    with pytest.raises(BundlePathError, match=f"'{name}', a kind of file that no bundle holds"):
        Bundle.open(bundle.path)


def test_a_link_within_the_bundle_and_a_linked_bundle_are_fine(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "link.npz").symlink_to("golden.npz")
    redirect(bundle, "link.npz")
    (tmp_path / "other").symlink_to(bundle.path)
    assert Bundle.open(tmp_path / "other").file("golden").name == "link.npz"


def test_wrong_version(bundle: Bundle) -> None:
    reseal(bundle, version=3)
    with pytest.raises(BundleVersionError, match=r"manifest\.json has version 3; this sdkit reads versions 1 and 2"):
        Bundle.open(bundle.path)


def test_other_json_is_no_manifest(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").write_text(json.dumps({"name": "web app"}))
    with pytest.raises(ManifestError, match="is not the manifest of an sdkit bundle"):
        Bundle.open(bundle.path)


def test_a_format_that_is_not_there_is_told_with_those_that_are(bundle: Bundle) -> None:
    graphs = {
        name: msgspec.structs.replace(graph, files={"onnx": graph.files["onnx"]})
        for name, graph in bundle.manifest.graphs.items()
    }
    reseal(bundle, graphs=graphs)
    for open_it in (
        lambda: Runtime.open(bundle.path, backend="torchscript"),
        lambda: Bundle.open(bundle.path).graph_file("prior", "torchscript"),
    ):
        with pytest.raises(
            BundleError, match=r"holds no torchscript graphs \(it holds: onnx\); `sdkit export --format"
        ):
            open_it()


def test_other_files_that_are_not_there(bundle: Bundle) -> None:
    with pytest.raises(BundleFileError, match="holds no licence file"):
        bundle.file("licence")
    with pytest.raises(MissingFileError, match=r"nowhere is not a bundle: it holds no manifest\.json"):
        Bundle.open(bundle.path / "nowhere")


def test_graphs_that_do_not_fit_the_manifest_are_refused_by_the_runtime(bundle: Bundle) -> None:
    """Two graphs changed places, and the manifest vouches for both."""
    graphs = dict(bundle.manifest.graphs)
    static, prior = graphs["static"], graphs["prior"]
    graphs["static"] = msgspec.structs.replace(static, files=prior.files)
    write_manifest(bundle.path, msgspec.structs.replace(bundle.manifest, graphs=graphs))
    rt = Runtime.open(bundle.path, device="cpu")
    with pytest.raises(ManifestError, match="graph 'static' has other inputs or outputs than the manifest says"):
        rt.encode(sequences(2))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not protobuf", r"static\.onnx is not an ONNX graph; export or copy the bundle again"),
        (b"\x08\x08", r"static\.onnx cannot be loaded by onnxruntime [\d.]+: "),
    ],
    ids=["text", "no graph in it"],
)
def test_a_graph_that_is_no_graph(bundle: Bundle, content: bytes, says: str) -> None:
    (bundle.path / "static.onnx").write_bytes(content)
    graphs = dict(bundle.manifest.graphs)
    files = {**graphs["static"].files, "onnx": file_spec(bundle.path, "static.onnx")}
    graphs["static"] = msgspec.structs.replace(graphs["static"], files=files)
    reseal(bundle, graphs=graphs)
    with pytest.raises(BundleError, match=says) as caught:
        Runtime.open(bundle.path, device="cpu")
    assert "\n" not in str(caught.value)


def test_describe(mini: Bundle) -> None:
    facts = describe_bundle(mini.path)
    manifest: Manifest = mini.manifest
    assert facts["element"] == "image (3, 16, 16) uint8"
    assert facts["codes"] == "static S = 5, dynamic D = 4 a step"
    assert facts["method"] == "dbse, variant paper"
    assert facts["verbs"] == ", ".join(VERBS)
    assert not [name for name in facts if name.startswith("no ")]
    assert facts["formats"] == "onnx, torchscript"
    assert facts["trained on"] == "blocks, T = 5, 1 epochs, seed 0"
    assert manifest.provenance.weights_sha256[:16] in facts["weights"]
    assert facts["graphs"]["prior"].startswith("prior.onnx 0.0")
    assert "opset 18" in facts["graphs"]["prior"]
    assert json.loads(json.dumps(facts)) == facts
    assert os.fspath(mini.path) == facts["path"]


def test_describe_tells_what_a_model_cannot_do(bundle: Bundle) -> None:
    refusals = {"stream": "it waits for the end", "generate": "it has no prior"}
    capabilities = tuple(verb for verb in VERBS if verb not in refusals)
    reseal(bundle, capabilities=capabilities, refusals=refusals, max_steps=12, variant="")
    facts = describe_bundle(bundle.path)
    assert facts["method"] == "dbse"
    assert facts["verbs"] == ", ".join(capabilities)
    assert (facts["no stream"], facts["no generate"]) == ("it waits for the end", "it has no prior")
    assert facts["longest draw"] == "12 steps"
    assert json.loads(json.dumps(facts)) == facts
