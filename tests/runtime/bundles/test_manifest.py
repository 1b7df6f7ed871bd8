import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.manifest import Manifest, schema, tensor
from sdkit.runtime.bundles.parsing import parse
from sdkit.runtime.bundles.specs import FileSpec, GraphSpec, Provenance, TensorSpec, Widths
from sdkit.runtime.contract import DYNAMIC_POSTERIOR, GRAPHS, STATIC_PRIOR, STEP, VERBS, needed
from sdkit.runtime.element import Element
from sdkit.runtime.errors import BundleVersionError, ManifestError

ELEMENT = Element("series", (6, 2), "float32", ("mmHg", "°C"), ("pressure", "temperature"))
WIDTHS = Widths(5, 4, 8, 6, 41)
REFUSALS = {"stream": "it waits for the end"}
FILES: dict[Any, FileSpec] = {
    "onnx": FileSpec("a.onnx", "ab" * 32, 12, "tracing", 18, 8),
    "torchscript": FileSpec("a.ts.pt", "cd" * 32, 34),
}


def spec(name: str, *, optional: bool = False) -> GraphSpec:
    """Return a graph that takes all that it may, and returns what it must, or what it may as well."""
    rule = GRAPHS[name]
    outputs = (*rule.outputs, *rule.optional) if optional else rule.outputs
    inputs = [t for t in rule.inputs if optional or t != "context"]
    return GraphSpec(
        tuple(tensor(name, t, ELEMENT, WIDTHS) for t in inputs),
        tuple(tensor(name, t, ELEMENT, WIDTHS) for t in outputs),
        FILES,
    )


def small(**changes: Any) -> Manifest:
    """Return a manifest with something in every field, and with fields changed."""
    verbs = tuple(verb for verb in VERBS if verb not in REFUSALS)
    manifest = Manifest(
        element=ELEMENT,
        widths=WIDTHS,
        graphs={name: spec(name) for name in needed(verbs)},
        method="dbse",
        variant="custom",
        settings={"static_size": 5, "pixel_scale": 255.0, "widths": [1, 2], "anchor": "middle"},
        capabilities=verbs,
        refusals=REFUSALS,
        steps=8,
        max_steps=12,
        feature_mean=(120.0, 37.0),
        feature_std=(20.0, 0.5),
        files={"golden": FileSpec("golden.npz", "ef" * 32, 56)},
        provenance=Provenance("0.1.0", "2.13", "2026-01-01T00:00:00+00:00", "run", "best", "01" * 32, 3, "ECG"),
    )
    return msgspec.structs.replace(manifest, **changes)


def with_graph(name: str, graph: GraphSpec | None = None, **changes: Any) -> Manifest:
    """Return the manifest with a graph added or changed."""
    base = small()
    graph = graph or base.graphs.get(name) or spec(name)
    return small(graphs={**base.graphs, name: msgspec.structs.replace(graph, **changes)})


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
    assert (values["format"], values["version"]) == ("sdkit-bundle", 2)
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
        (text_with(widths=None), "missing required field `widths`"),
        (text_with(letters={"static_size": 5}), "unknown field `letters`"),
        (text_with(widths={"static_size": 5, "dynamic_size": 4, "hidden_size": 6}), "unknown field `hidden_size`"),
        (text_with(capabilities=None), "missing required field `capabilities`"),
        (text_with(refusals={"stream": 3}), r"Expected `str`, got `int` - at `\$.refusals"),
        (text_with(steps="8"), r"Expected `int`, got `str` - at `\$.steps`"),
        (text_with(element={"kind": "image", "shape": [4, 4], "dtype": "uint8"}), r"axes \(C, H, W\)"),
        (text_with(element={"kind": "video", "shape": [4], "dtype": "uint8"}), "unknown kind of element 'video'"),
        (text_with(graphs={}), "names the graphs ; expected encoder, static, dynamic, decoder, prior, and any"),
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


@pytest.mark.parametrize("missing", ["encoder", "static", "dynamic", "decoder", "prior"])
def test_a_graph_that_a_verb_runs_must_not_be_missing_even_from_a_sealed_manifest(missing: str) -> None:
    graphs = {name: graph for name, graph in small().graphs.items() if name != missing}
    words = f"names the graphs {', '.join(graphs)}; expected encoder, static, dynamic, decoder, prior, and any of "
    with pytest.raises(ManifestError, match=f"^here {words}static_prior, dynamic_posterior, {STEP}$"):
        parse(small(graphs=graphs).to_json(), "here")


def test_no_other_graph_may_be_there() -> None:
    graphs = {**small().graphs, "encoder2": small().graphs["encoder"]}
    with pytest.raises(ManifestError, match=r"prior, encoder2; expected .*, and any of .*dynamic_step"):
        parse(small(graphs=graphs).to_json(), "here")


@pytest.mark.parametrize("name", [STEP, STATIC_PRIOR, DYNAMIC_POSTERIOR])
def test_graphs_that_no_verb_runs_may_be_there(name: str) -> None:
    text = with_graph(name).to_json()
    assert name in parse(text, "here").graphs
    assert parse(text, "here").to_json() == text


def test_everything_that_the_contract_allows_may_be_there() -> None:
    graphs = {name: spec(name, optional=True) for name in GRAPHS}
    text = small(graphs=graphs, capabilities=tuple(VERBS), refusals={}).to_json()
    found = parse(text, "here")
    assert found.to_json() == text
    assert found.abilities.verbs == tuple(VERBS)
    assert found.ports["dynamic"] == (("features", "context", "static"), ("dynamic_mean", "dynamic_std"))


def test_fewer_verbs_need_fewer_graphs() -> None:
    verbs = ("encode", "decode")
    refusals = {verb: "it must not" for verb in VERBS if verb not in verbs}
    graphs = {name: graph for name, graph in small().graphs.items() if name != "prior"}
    found = parse(small(graphs=graphs, capabilities=verbs, refusals=refusals).to_json(), "here")
    assert found.abilities.verbs == verbs


@pytest.mark.parametrize(
    "changes",
    [
        {"refusals": {}},
        {"refusals": {**REFUSALS, "encode": "told twice"}},
        {"refusals": {**REFUSALS, "fly": "it has no wings"}},
        {"capabilities": (*small().capabilities, "fly")},
        {"capabilities": (*small().capabilities, "encode")},
        {"capabilities": small().capabilities[1:]},
        {"capabilities": ()},
    ],
    ids=str,
)
def test_every_verb_is_told_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=r"^here names the verbs .*; expected each of encode, .*, stream once$"):
        parse(small(**changes).to_json(), "here")


X, FEATURES = TensorSpec("x", "float32", ("B", "T", 6, 2)), TensorSpec("features", "float32", ("B", "T", 8))


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (
            with_graph("static", inputs=(FEATURES, X)),
            "gives the graph static the inputs features, x; known are features",
        ),
        (
            with_graph("static", outputs=spec("static").outputs[:1]),
            "gives the graph static the outputs static_mean; expected static_mean, static_std",
        ),
        (
            with_graph("encoder", outputs=(FEATURES, X)),
            "gives the graph encoder the outputs features, x; expected features",
        ),
        (
            with_graph("decoder", outputs=(FEATURES,)),
            "gives the graph decoder the outputs features; expected x",
        ),
        (
            with_graph("encoder", inputs=(TensorSpec("x", "float32", ("B", "T", 6, 3)),)),
            r"gives the tensor x of graph encoder the shape \('B', 'T', 6, 3\); expected \('B', 'T', 6, 2\)",
        ),
        (
            with_graph("encoder", outputs=(TensorSpec("features", "float32", (1, "T", 8)),)),
            r"gives the tensor features of graph encoder the shape \(1, 'T', 8\); expected \('B', 'T', 8\)",
        ),
        (
            with_graph("encoder", inputs=(TensorSpec("x", "uint8", ("B", "T", 6, 2)),)),
            "gives the tensor x of graph encoder the dtype uint8; expected float32",
        ),
        (
            with_graph("encoder", outputs=(TensorSpec("features", "float16", ("B", "T", 8)),)),
            "gives the tensor features of graph encoder the dtype float16; expected float32",
        ),
        (
            small(widths=Widths(5, 4, 9, 6, 41)),
            r"gives the tensor features of graph encoder the shape \('B', 'T', 8\); expected \('B', 'T', 9\)",
        ),
        (
            with_graph("dynamic", spec("dynamic", optional=True)),
            "gives the graph dynamic the input context, which the graph static does not return",
        ),
    ],
)
def test_tensors_that_are_not_those_of_the_contract(manifest: Manifest, words: str) -> None:
    with pytest.raises(ManifestError, match=f"^here {words}$"):
        parse(manifest.to_json(), "here")


def test_a_step_graph_has_a_state_of_a_fixed_width() -> None:
    widths = msgspec.structs.replace(WIDTHS, state=0)
    sides = (GRAPHS[STEP].inputs, GRAPHS[STEP].outputs)
    inputs, outputs = (tuple(tensor(STEP, t, ELEMENT, widths) for t in side) for side in sides)
    graph = GraphSpec(inputs, outputs, FILES)
    manifest = msgspec.structs.replace(with_graph(STEP, graph), widths=widths)
    with pytest.raises(ManifestError, match=r"^here gives the graph dynamic_step no input 'state' \(B, K\) of a fixed"):
        parse(manifest.to_json(), "here")


@pytest.mark.parametrize("version", [0, 3, 2.0, "1", "2", True, None, [2], {}], ids=str)
def test_other_versions_are_told_before_the_schema(version: object) -> None:
    with pytest.raises(BundleVersionError, match=r"^here has version .*; this sdkit reads versions 1 and 2$") as caught:
        parse(text_with(version=version, widths=None, future_key=1), "here")
    assert f"version {version};" in str(caught.value)


def test_formats_are_those_that_every_graph_has() -> None:
    assert small().formats == ("onnx", "torchscript")
    only = msgspec.structs.replace(small().graphs["prior"], files={"onnx": FileSpec("p.onnx", "", 1)})
    assert msgspec.structs.replace(small(), graphs={**small().graphs, "prior": only}).formats == ("onnx",)


def test_schema() -> None:
    definitions = schema()["$defs"]
    assert definitions["Manifest"]["additionalProperties"] is False
    assert definitions["Manifest"]["required"] == [
        "element", "widths", "graphs", "method", "variant", "settings", "capabilities", "refusals", "steps",
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
    assert manifest.settings["static_size"] == manifest.widths.static_size == 5


def test_precision_is_told_graph_by_graph() -> None:
    spec = FileSpec("e.onnx", "ab" * 32, 12, precision="int8")
    graph = msgspec.structs.replace(small().graphs["encoder"], files={"onnx": spec})
    manifest = msgspec.structs.replace(small(), graphs={**small().graphs, "encoder": graph})
    again = parse(manifest.to_json(), "here")
    assert again.to_json() == manifest.to_json()
    assert (again.precision, again.precision_of("encoder"), again.precision_of("prior")) == ("int8", "int8", "float32")
    with pytest.raises(ManifestError, match="Invalid enum value 'int4'"):
        parse(manifest.to_json().replace(b'"int8"', b'"int4"'), "here")


def test_a_graph_without_a_precision_is_float32() -> None:
    text = small().to_json()
    assert b"precision" not in text
    assert (parse(text, "here").precision, small().precision_of("encoder")) == ("float32", "float32")


def test_the_digest_of_these_values_is_this_one() -> None:
    """Another order of fields, or a new field without a default, would make bundles that are out there unreadable."""
    assert small().sealed().digest == "fe6d64369e63159c5685acca294452b4ef78101c511ae27ac04c12df27dec400"
