"""Manifests of format 1, of the time when there was one method, open as those of dbse."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sdkit.export.proof.cases import scale_of
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.format1 import GRAPHS, Letters, Manifest1
from sdkit.runtime.bundles.manifest import Manifest, digest
from sdkit.runtime.bundles.parsing import parse
from sdkit.runtime.bundles.specs import FileSpec, GraphSpec, Provenance, TensorSpec
from sdkit.runtime.contract import STEP, VERBS
from sdkit.runtime.describe import describe_bundle
from sdkit.runtime.element import Element
from sdkit.runtime.errors import BundleVersionError, CapabilityError, DigestError, ManifestError
from sdkit.runtime.runtime import Runtime
from tests.tiny import sequences

CONFORMANCE = Path(__file__).parents[2] / "conformance"
KEPT = next(
    path.parent for path in sorted(CONFORMANCE.glob("*/manifest.json")) if json.loads(path.read_bytes())["version"] == 1
)
"""A bundle that the sdkit of that time wrote: uint8 images (3, 16, 16)."""


def kept() -> Manifest1:
    return msgspec.json.decode((KEPT / "manifest.json").read_bytes(), type=Manifest1)


def sealed(manifest: Manifest1) -> bytes:
    """Return the text of a manifest of format 1, as that sdkit wrote it."""
    return msgspec.json.encode(msgspec.structs.replace(manifest, digest=digest(manifest)))


def changed(**changes: Any) -> Manifest:
    """Return the manifest with fields changed, sealed and read."""
    return parse(sealed(msgspec.structs.replace(kept(), **changes)), "here")


def text_with(**changes: Any) -> bytes:
    """Return the text with keys changed, or removed where the value is None, and no new digest."""
    values = {**json.loads((KEPT / "manifest.json").read_bytes()), **changes}
    return json.dumps({key: value for key, value in values.items() if value is not None}).encode()


@pytest.fixture
def rt() -> Runtime:
    return Runtime.open(KEPT, device="cpu", threads=1)


def test_it_is_a_model_of_dbse() -> None:
    manifest, old = Bundle.open(KEPT).manifest, kept()
    assert (manifest.method, manifest.variant, manifest.version) == ("dbse", "paper", 1)
    assert manifest.digest == old.digest
    assert manifest.element == old.element
    widths = manifest.widths
    assert (widths.static_size, widths.dynamic_size, widths.features, widths.context) == (5, 4, 32, 6)
    assert widths.state == 1 + 32 + 2 * 6
    assert (manifest.steps, manifest.max_steps) == (5, None)
    assert (manifest.graphs, manifest.files, manifest.provenance) == (old.graphs, old.files, old.provenance)
    assert set(manifest.settings) == set(old.model) - {"element", "feature_mean", "feature_std"}
    assert {name: old.model[name] for name in manifest.settings} == manifest.settings


def test_it_has_the_same_verbs(rt: Runtime) -> None:
    assert rt.abilities.verbs == tuple(VERBS)
    assert rt.manifest.refusals == {}
    facts = describe_bundle(KEPT)
    assert facts["method"] == "dbse, variant paper"
    assert facts["verbs"] == ", ".join(VERBS)


def test_its_graphs_run_under_the_names_that_they_have(rt: Runtime) -> None:
    assert rt.backend.ports["dynamic"].inputs == ("features", "static_hidden")
    x, y = sequences(3, 5), sequences(3, 4, seed=1)
    codes = rt.encode(x)
    assert (codes.static.shape, codes.dynamic.shape) == ((3, 5), (3, 5, 4))
    for swapped, expected in zip(rt.swap(x, x), (rt.reconstruct(x),) * 2, strict=True):
        np.testing.assert_allclose(swapped, expected, atol=1e-3)
    assert [part.shape[1] for part in rt.swap(x, y)] == [4, 5]
    assert rt.generate(2, 6, seed=1).shape == (2, 6, 3, 16, 16)
    assert rt.resample_static(x).shape == rt.resample_dynamic(x).shape == x.shape
    assert np.abs(rt.encode(x, seed=3).dynamic - codes.dynamic).max() > 0.1
    stream = rt.stream(3)
    steps = [stream.push(x[:, t]) for t in range(5)]
    np.testing.assert_allclose(np.stack([step.dynamic for step in steps], 1), codes.dynamic, atol=1e-5)


def test_features_have_their_scale() -> None:
    """Mean and standard deviation of features were told with the model's shape."""
    element = Element("series", (6, 2), "float32")
    manifest = changed(
        element=element, model={**kept().model, "feature_mean": [120.0, 37.0], "feature_std": [20.0, 0.5]}
    )
    assert (manifest.feature_mean, manifest.feature_std) == ((120.0, 37.0), (20.0, 0.5))
    assert scale_of(manifest) is not None
    assert not {"feature_mean", "feature_std", "element"} & set(manifest.settings)
    assert scale_of(Bundle.open(KEPT).manifest) is None


def without_step() -> dict[str, Any]:
    return {name: graph for name, graph in kept().graphs.items() if name != STEP}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"causal": False}, "its LSTM is bidirectional, so no dynamic code is known before the last element"),
        (
            {"anchor": "middle"},
            "its static code is read from the middle element, which is not known when a stream begins",
        ),
        ({"anchor": "last"}, "its static code is read from the last element, which is not known when a stream begins"),
        (
            {"graphs": without_step()},
            "its bundle was made before bundles had a graph dynamic_step; export its run again",
        ),
    ],
    ids=["bidirectional", "middle", "last", "no graph"],
)
def test_what_could_not_run_online_says_why(changes: dict[str, Any], reason: str) -> None:
    manifest = changed(**changes)
    assert manifest.refusals == {"stream": reason}
    assert manifest.capabilities == tuple(verb for verb in VERBS if verb != "stream")
    with pytest.raises(CapabilityError, match=f"^this model cannot stream: {reason}$"):
        manifest.abilities.require("stream")


def test_bundles_without_a_step_graph_do_everything_else(rt: Runtime, tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "old")
    (tmp_path / "old" / "manifest.json").write_bytes(sealed(msgspec.structs.replace(kept(), graphs=without_step())))
    old, x = Runtime.open(tmp_path / "old", device="cpu", threads=1), sequences(2, 4)
    assert old.widths.state == 0
    np.testing.assert_array_equal(old.reconstruct(x), rt.reconstruct(x))
    with pytest.raises(CapabilityError, match="export its run again"):
        old.stream()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (text_with(licence="MIT"), "unknown field `licence`"),
        (text_with(method="dbse"), "unknown field `method`"),
        (text_with(letters=None), "missing required field `letters`"),
        (text_with(letters={"static_size": 5, "dynamic_size": 4, "context": 6}), "unknown field `context`"),
        (text_with(steps="8"), r"Expected `int`, got `str` - at `\$.steps`"),
        (
            text_with(graphs={}),
            "names the graphs ; expected encoder, static, dynamic, decoder, prior, and dynamic_step",
        ),
        (text_with(steps=9), "was changed after it was written"),
        (text_with(causal=False), "was changed after it was written"),
        (text_with(digest="0" * 64), "was changed after it was written"),
        (text_with(digest=None), "was changed after it was written"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_one_line(text: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        parse(text, "bundle/manifest.json")
    assert str(caught.value).startswith("bundle/manifest.json ")
    assert "\n" not in str(caught.value)


def test_its_text_is_not_one_of_another_version() -> None:
    with pytest.raises(ManifestError, match="does not follow the manifest's schema"):
        parse(text_with(version=2), "here")
    with pytest.raises(BundleVersionError, match="here has version 0; this sdkit reads versions 1 and 2"):
        parse(text_with(version=0), "here")


def test_manifests_from_before_there_was_a_precision_keep_their_digest() -> None:
    """The digest below is what the first sdkit gave these values; the text of old bundles must stay good."""
    x, features = (TensorSpec(name, "float32", ("B", "T", *rest)) for name, rest in (("x", (6, 2)), ("features", (8,))))
    files: dict[Any, FileSpec] = {
        "onnx": FileSpec("a.onnx", "ab" * 32, 12, "tracing", 18, 8),
        "torchscript": FileSpec("a.ts.pt", "cd" * 32, 34),
    }
    first = Manifest1(
        element=Element("series", (6, 2), "float32", ("mmHg", "°C"), ("pressure", "temperature")),
        letters=Letters(5, 4, 8, 6),
        graphs=dict.fromkeys(GRAPHS, GraphSpec((x,), (features,), files)),
        steps=8,
        anchor="middle",
        anchor_dynamic="zero",
        causal=True,
        variant="custom",
        model={"static_size": 5, "pixel_scale": 255.0, "widths": [1, 2]},
        files={"golden": FileSpec("golden.npz", "ef" * 32, 56)},
        provenance=Provenance("0.1.0", "2.13", "2026-01-01T00:00:00+00:00", "run", "best", "01" * 32, 3, "ECG"),
    )
    text = sealed(first)
    assert b"precision" not in text
    assert parse(text, "here").digest == "8ea3f93f0ed2402a3acaf20ec6e27d5a144bdbbc7cd0d2a9ec4fdc410bf2dac5"
    assert (parse(text, "here").precision, parse(text, "here").precision_of("encoder")) == ("float32", "float32")


@pytest.mark.parametrize("missing", GRAPHS)
def test_no_graph_may_be_missing(missing: str) -> None:
    with pytest.raises(
        ManifestError, match=r"names the graphs .*; expected encoder, static, dynamic, decoder, prior, and"
    ):
        changed(graphs={name: graph for name, graph in kept().graphs.items() if name != missing})


def test_no_graph_of_today_may_be_there() -> None:
    graphs = {**kept().graphs, "static_prior": kept().graphs["prior"]}
    with pytest.raises(ManifestError, match=r"names the graphs .*static_prior; expected"):
        changed(graphs=graphs)


@pytest.mark.parametrize("shape", [("B", "K"), ("B", 0), ()])
def test_a_step_graph_has_a_state_of_a_fixed_width(shape: tuple[Any, ...]) -> None:
    step = msgspec.structs.replace(kept().graphs[STEP], inputs=(TensorSpec("state", "float32", shape),))
    with pytest.raises(ManifestError, match=r"here gives the graph dynamic_step no input 'state' \(B, K\) of a fixed"):
        changed(graphs={**kept().graphs, STEP: step})


@pytest.mark.parametrize("place", [0, 0.25, 0.5, 0.75, 1])
def test_a_changed_byte_is_noticed(place: float) -> None:
    content = bytearray((KEPT / "manifest.json").read_bytes())
    at = round(place * (len(content) - 2))
    content[at] ^= 1
    with pytest.raises((ManifestError, BundleVersionError)):
        parse(bytes(content), "here")


def test_a_changed_graph_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "bundle")
    with (tmp_path / "bundle" / "prior.onnx").open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(DigestError, match=r"prior\.onnx is not the file that was exported"):
        Bundle.open(tmp_path / "bundle")
