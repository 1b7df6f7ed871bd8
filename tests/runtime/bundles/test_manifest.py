import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.manifest import Manifest, schema
from sdkit.runtime.bundles.parsing import parse
from sdkit.runtime.bundles.specs import FileSpec, GraphSpec, Provenance, TensorSpec, Widths
from sdkit.runtime.element import Element
from sdkit.runtime.engines.backend import GRAPHS, STEP
from sdkit.runtime.errors import BundleVersionError, ManifestError


def small() -> Manifest:
    """Return a manifest with something in every field."""
    x = TensorSpec("x", "float32", ("B", "T", 6, 2))
    graph = GraphSpec(
        (x,),
        (TensorSpec("features", "float32", ("B", "T", 8)),),
        {
            "onnx": FileSpec("a.onnx", "ab" * 32, 12, "tracing", 18, 8),
            "torchscript": FileSpec("a.ts.pt", "cd" * 32, 34),
        },
    )
    return Manifest(
        element=Element("series", (6, 2), "float32", ("mmHg", "°C"), ("pressure", "temperature")),
        letters=Widths(5, 4, 8, 6),
        graphs=dict.fromkeys(GRAPHS, graph),
        steps=8,
        anchor="middle",
        anchor_dynamic="zero",
        causal=True,
        variant="custom",
        model={"static_size": 5, "pixel_scale": 255.0, "widths": [1, 2]},
        files={"golden": FileSpec("golden.npz", "ef" * 32, 56)},
        provenance=Provenance("0.1.0", "2.13", "2026-01-01T00:00:00+00:00", "run", "best", "01" * 32, 3, "ECG"),
    )


def text_with(**changes: Any) -> bytes:
    """Return a manifest's text with keys changed, or removed where the value is None, and no new digest."""
    values = {**json.loads(small().to_json()), **changes}
    return json.dumps({key: value for key, value in values.items() if value is not None}).encode()


def test_exact_round_trip() -> None:
    text = small().to_json()
    again = parse(text, "manifest.json")
    assert again == small().sealed()
    assert again.to_json() == text
    assert msgspec.structs.replace(again, digest="") == small()


def test_text_is_readable_and_holds_the_format() -> None:
    text = small().to_json()
    assert text.endswith(b"}\n")
    assert b'\n  "element": {\n    "kind": "series",' in text
    assert "°C".encode() in text
    values = json.loads(text)
    assert (values["format"], values["version"]) == ("sdkit-bundle", 1)
    assert values["graphs"]["encoder"]["inputs"][0]["shape"] == ["B", "T", 6, 2]


def test_sealing_twice_changes_nothing() -> None:
    once = small().sealed()
    assert len(once.digest) == 64
    assert once.sealed() == once
    assert msgspec.structs.replace(small(), steps=9).sealed().digest != once.digest


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_any_changed_byte_of_the_text_is_refused(bit: int) -> None:
    text = small().to_json()
    assert parse(text, "here")
    for place in range(len(text)):
        changed = bytearray(text)
        changed[place] ^= bit
        with pytest.raises((ManifestError, BundleVersionError)):
            parse(bytes(changed), "here")


def test_any_lost_byte_but_the_last_line_feed_is_refused() -> None:
    text = small().to_json()
    for place in range(len(text) - 1):
        if text[place : place + 1].isspace():
            continue
        with pytest.raises((ManifestError, BundleVersionError)):
            parse(text[:place] + text[place + 1 :], "here")


def test_layout_is_not_content() -> None:
    """Another program may write the same values with other spaces."""
    assert parse(json.dumps(json.loads(small().to_json())).encode(), "here") == small().sealed()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"format": "\xb0"}', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not the manifest of an sdkit bundle"),
        (b"{}", "no format 'sdkit-bundle'"),
        (text_with(format="onnx-bundle"), "no format 'sdkit-bundle'"),
        (text_with(licence="MIT"), "unknown field `licence`"),
        (text_with(element={"kind": "image", "shape": [3, 4, 4], "dtype": "uint8", "x": 1}), "unknown field `x`"),
        (text_with(letters=None), "missing required field `letters`"),
        (text_with(steps="8"), r"Expected `int`, got `str` - at `\$.steps`"),
        (text_with(element={"kind": "image", "shape": [4, 4], "dtype": "uint8"}), r"axes \(C, H, W\)"),
        (text_with(element={"kind": "video", "shape": [4], "dtype": "uint8"}), "Invalid enum value 'video'"),
        (text_with(graphs={}), "names the graphs ; expected encoder, static, dynamic, decoder, prior"),
        (text_with(steps=9), "was changed after it was written"),
        (text_with(digest="0" * 64), "was changed after it was written"),
        (text_with(digest=None), "was changed after it was written"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(text: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        parse(text, "bundle/manifest.json")
    assert str(caught.value).startswith("bundle/manifest.json ")
    assert "\n" not in str(caught.value)


def test_a_graph_must_not_be_missing_even_from_a_sealed_manifest() -> None:
    graphs = {name: graph for name, graph in small().graphs.items() if name != "prior"}
    with pytest.raises(ManifestError, match="names the graphs encoder, static, dynamic, decoder; expected"):
        parse(msgspec.structs.replace(small(), graphs=graphs).to_json(), "here")


def with_step(*state: int | str, name: str = "state") -> Manifest:
    """Return a manifest with a step graph whose state has a shape."""
    graph = msgspec.structs.replace(small().graphs["prior"], inputs=(TensorSpec(name, "float32", state),))
    return msgspec.structs.replace(small(), graphs={**small().graphs, STEP: graph})


def test_a_step_graph_may_be_there() -> None:
    text = with_step("B", 41).to_json()
    assert parse(text, "here").state_size == 41
    assert parse(text, "here").to_json() == text
    assert parse(small().to_json(), "here").state_size == 0


@pytest.mark.parametrize("manifest", [with_step("B", "K"), with_step("B", 0), with_step(), with_step("B", 4, name="h")])
def test_a_step_graph_has_a_state_of_a_fixed_width(manifest: Manifest) -> None:
    with pytest.raises(ManifestError, match=r"here gives the graph dynamic_step no input 'state' \(B, K\) of a fixed"):
        parse(manifest.to_json(), "here")


def test_no_other_graph_may_be_there() -> None:
    graphs = {**small().graphs, "encoder2": small().graphs["encoder"]}
    with pytest.raises(ManifestError, match=r"prior, encoder2; expected .*, and dynamic_step or none"):
        parse(msgspec.structs.replace(small(), graphs=graphs).to_json(), "here")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_other_versions_are_told_before_the_schema(version: object) -> None:
    with pytest.raises(BundleVersionError, match=rf"here has version {version}; this sdkit reads version 1"):
        parse(text_with(version=version, letters=None, future_key=1), "here")


def test_formats_are_those_that_every_graph_has() -> None:
    assert small().formats == ("onnx", "torchscript")
    only = msgspec.structs.replace(small().graphs["prior"], files={"onnx": FileSpec("p.onnx", "", 1)})
    assert msgspec.structs.replace(small(), graphs={**small().graphs, "prior": only}).formats == ("onnx",)


def test_schema() -> None:
    definitions = schema()["$defs"]
    assert definitions["Manifest"]["additionalProperties"] is False
    assert definitions["Manifest"]["required"] == [
        "element", "letters", "graphs", "steps", "anchor", "anchor_dynamic", "causal", "variant", "model",
    ]  # fmt: skip
    assert definitions["FileSpec"]["required"] == ["path", "sha256", "size"]
    assert definitions["TensorSpec"]["properties"]["shape"]["items"] == {
        "anyOf": [{"type": "integer"}, {"type": "string"}]
    }
    assert json.loads(json.dumps(schema()))["$ref"] == "#/$defs/Manifest"


def test_the_manifest_of_a_bundle_round_trips(mini: Bundle) -> None:
    path: Path = mini.path / "manifest.json"
    manifest = parse(path.read_bytes(), str(path))
    assert manifest == mini.manifest
    assert manifest.to_json() == path.read_bytes()
    assert manifest.model["static_size"] == manifest.letters.static_size == 5


def test_precision_is_told_graph_by_graph() -> None:
    spec = FileSpec("e.onnx", "ab" * 32, 12, precision="int8")
    graph = msgspec.structs.replace(small().graphs["encoder"], files={"onnx": spec})
    manifest = msgspec.structs.replace(small(), graphs={**small().graphs, "encoder": graph})
    again = parse(manifest.to_json(), "here")
    assert again.to_json() == manifest.to_json()
    assert (again.precision, again.precision_of("encoder"), again.precision_of("prior")) == ("int8", "int8", "float32")
    with pytest.raises(ManifestError, match="Invalid enum value 'int4'"):
        parse(manifest.to_json().replace(b'"int8"', b'"int4"'), "here")


def test_manifests_from_before_there_was_a_precision_keep_their_digest() -> None:
    """The digest below is what the first sdkit gave these values; the text of old bundles must stay good."""
    text = small().to_json()
    assert b"precision" not in text
    assert parse(text, "here").digest == "8ea3f93f0ed2402a3acaf20ec6e27d5a144bdbbc7cd0d2a9ec4fdc410bf2dac5"
    assert (small().precision, small().precision_of("encoder")) == ("float32", "float32")
