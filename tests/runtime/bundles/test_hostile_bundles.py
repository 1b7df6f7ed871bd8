"""Bundles whose manifest vouches for what it should not: each ends in one error of ours, before any memory is taken."""

import json
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdkit.runtime.bundles.bundle import LARGEST_MANIFEST, Bundle
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.parsing import LARGEST_SEQUENCE, WIDEST, parse
from sdkit.runtime.bundles.specs import FileSpec, GraphFormat
from sdkit.runtime.errors import BundleError, BundleFileError, BundlePathError, ManifestError, SdkitError
from sdkit.runtime.runtime import Runtime
from tests.export.runs import copy, reseal
from tests.runtime.bundles.test_manifest import small


@pytest.fixture
def bundle(mini: Bundle, tmp_path: Path) -> Bundle:
    """Return a copy that may be spoilt."""
    return copy(mini, tmp_path / "bundle")


def golden_at(bundle: Bundle, path: str, size: int = 1) -> None:
    """Let the manifest name a path for the golden vectors."""
    reseal(bundle, files={**bundle.manifest.files, "golden": FileSpec(path, "0" * 64, size)})


@pytest.mark.parametrize("name", ["a\x00.npz", "\x00", "a\x1b[31m.npz", "a\n.npz", "\u202e.npz"], ids=ascii)
def test_names_that_are_no_names(bundle: Bundle, name: str) -> None:
    golden_at(bundle, name)
    with pytest.raises(BundlePathError, match="the manifest points outside the bundle") as caught:
        Bundle.open(bundle.path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["loop.npz", "folder/loop.npz"])
def test_links_that_lead_to_themselves(bundle: Bundle, name: str) -> None:
    (bundle.path / "folder").symlink_to("folder")
    (bundle.path / "loop.npz").symlink_to("loop.npz")
    golden_at(bundle, name)
    with pytest.raises(BundleError, match=re.escape(name)):
        Bundle.open(bundle.path)


def test_names_that_are_too_long(bundle: Bundle) -> None:
    golden_at(bundle, "a" * 5000 + ".npz")
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle.path)
    assert len(str(caught.value)) <= 1000


def test_a_pipe_is_no_file(bundle: Bundle) -> None:
    """Reading one would wait for ever."""
    bundle.file("golden").unlink()
    os.mkfifo(bundle.file("golden"))
    with pytest.raises(BundleFileError, match="is missing"):
        Bundle.open(bundle.path)


def test_files_without_end_are_refused_unread(bundle: Bundle) -> None:
    """A sparse file of a terabyte would take an hour to read."""
    with bundle.file("golden").open("r+b") as stream:
        stream.truncate(2**40)
    golden_at(bundle, "golden.npz", 2**40)
    with pytest.raises(BundleFileError, match=r"golden\.npz has 1,099,511,627,776 bytes; a file of its kind has"):
        Bundle.open(bundle.path)


def test_a_manifest_without_end_is_refused_unread(bundle: Bundle) -> None:
    with (bundle.path / "manifest.json").open("r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(ManifestError, match=f"has more than {LARGEST_MANIFEST:,} bytes"):
        Bundle.open(bundle.path)


def test_a_file_that_may_not_be_read_is_an_error_of_the_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BundleFileError, match=r"manifest\.json cannot be read: Permission denied"):
        Bundle.open(bundle.path)


SIZES: dict[str, dict[str, Any]] = {
    "S": {"widths": msgspec.structs.replace(small().widths, static_size=0)},
    "D": {"widths": msgspec.structs.replace(small().widths, dynamic_size=-4)},
    "a wide static code": {"widths": msgspec.structs.replace(small().widths, static_size=WIDEST + 1)},
    "a wide state": {"widths": msgspec.structs.replace(small().widths, state=10**12)},
    "wide features": {"widths": msgspec.structs.replace(small().widths, features=2**63 - 1)},
    "many steps": {"steps": 10**9},
    "steps of 64 bits": {"steps": 2**63 - 1},
    "fewer than no steps": {"steps": -1},
    "no draw": {"max_steps": 0},
    "a mean too few": {"feature_mean": (1.0,)},
    "scales of more features": {"feature_mean": (0.0,) * 3, "feature_std": (1.0,) * 3},
    "no scale": {"feature_std": ()},
    "a scale of nothing": {"feature_std": (1.0, 0.0)},
    "a negative scale": {"feature_std": (1.0, -1.0)},
}


def resized(**changes: Any) -> Manifest:
    """Return a manifest with other sizes, and tensors that follow them."""
    from sdkit.runtime.bundles.manifest import tensor

    manifest = small(**changes)
    graphs = {
        name: msgspec.structs.replace(
            graph,
            inputs=tuple(tensor(name, t.name, manifest.element, manifest.widths) for t in graph.inputs),
            outputs=tuple(tensor(name, t.name, manifest.element, manifest.widths) for t in graph.outputs),
        )
        for name, graph in manifest.graphs.items()
    }
    return msgspec.structs.replace(manifest, graphs=graphs)


@pytest.mark.parametrize("case", SIZES)
def test_sizes_that_no_model_has(case: str) -> None:
    with pytest.raises(ManifestError, match=r"here gives .*; no model has that: do not use this bundle"):
        parse(resized(**SIZES[case]).to_json(), "here")


def test_elements_that_no_model_has() -> None:
    element = msgspec.structs.replace(small().element, shape=(LARGEST_SEQUENCE, 2), dtype="float32")
    with pytest.raises(ManifestError, match="no model has that"):
        parse(resized(element=element, steps=0).to_json(), "here")


def test_large_models_are_still_read() -> None:
    widths = msgspec.structs.replace(small().widths, static_size=4096, dynamic_size=4096, features=8192, state=16384)
    assert parse(resized(widths=widths, steps=2000).to_json(), "here").widths == widths


TEXTS: dict[str, Callable[[str], str]] = {
    "a key twice": lambda text: text.replace('"steps": 8', '"steps": 8, "steps": 8'),
    "a key twice, deep": lambda text: text.replace('"static_size"', '"dynamic_size": 4, "static_size"', 1),
    "NaN": lambda text: text.replace("120.0", "NaN"),
    "Infinity": lambda text: text.replace("120.0", "Infinity"),
    "a number without end": lambda text: text.replace('"steps": 8', '"steps": 1' + "0" * 5000),
    "a float too large": lambda text: text.replace("120.0", "1e999"),
    "depth": lambda text: "[" * 200_000,
    "depth of objects": lambda text: '{"a":' * 100_000,
    "half a surrogate pair": lambda text: text.replace('"custom"', '"\\ud800"'),
    "NUL": lambda text: text + "\x00",
    "two manifests": lambda text: text + text,
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_that_are_no_manifests(case: str) -> None:
    text = small().to_json().decode()
    changed = TEXTS[case](text)
    assert changed != text
    with pytest.raises(ManifestError, match=r"^here ") as caught:
        parse(changed.encode(), "here")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_a_graph_without_files(bundle: Bundle, backend: GraphFormat) -> None:
    graphs = {**bundle.manifest.graphs, "prior": msgspec.structs.replace(bundle.manifest.graphs["prior"], files={})}
    reseal(bundle, graphs=graphs)
    with pytest.raises(BundleError, match=f"holds no {backend} graphs"):
        Runtime.open(bundle.path, device="cpu", backend=backend)


def test_a_manifest_without_graphs() -> None:
    from sdkit.runtime.contract import VERBS

    nothing = small(graphs={}, capabilities=(), refusals=dict.fromkeys(VERBS, "it does nothing"))
    with pytest.raises(ManifestError, match="here names no graph"):
        parse(nothing.to_json(), "here")


def test_escape_sequences_in_a_manifest_do_not_reach_an_error() -> None:
    text = json.loads(small().to_json())
    text["element"]["kind"] = "\x1b]0;owned\x07" + "a" * 5000
    with pytest.raises(ManifestError) as caught:
        parse(json.dumps(text).encode(), "here")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 1000


def test_a_manifest_takes_no_memory_by_its_sizes() -> None:
    texts = [resized(**change).to_json() for change in SIZES.values()]
    tracemalloc.start()
    try:
        for text in texts:
            with pytest.raises(SdkitError):
                parse(text, "here")
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
