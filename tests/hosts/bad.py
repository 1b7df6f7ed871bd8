"""Bundles that must be refused, and what was done to them."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit(change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> Callable[[Path], None]:
    """Return a function that changes a manifest, which fits its digest again unless `seal` is off."""

    def spoil(folder: Path) -> None:
        file = folder / "manifest.json"
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(sealed(manifest) if seal else json.dumps(manifest, indent=3))

    return spoil


def sealed(manifest: dict[str, Any]) -> str:
    """Return the text of a manifest with a digest that fits."""
    text = json.dumps({**manifest, "digest": ""}, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return json.dumps({**manifest, "digest": digest}, indent=3)


def name_file(path: str) -> Callable[[Path], None]:
    return edit(lambda m: m["graphs"]["decoder"]["files"]["onnx"].update(path=path))


def change_byte(folder: Path) -> None:
    content = bytearray((folder / "decoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "decoder.onnx").write_bytes(content)


def link_outside(folder: Path) -> None:
    target = folder.parent / "elsewhere.onnx"
    (folder / "prior.onnx").rename(target)
    (folder / "prior.onnx").symlink_to(target)


def repeat_graph(folder: Path) -> None:
    edit(lambda m: m["graphs"]["static"].update(files=m["graphs"]["prior"]["files"]))(folder)


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def end_stream(manifest: dict[str, Any]) -> None:
    """Let a manifest say that a stream keeps nothing of its past."""
    step = manifest["graphs"]["dynamic_step"]
    manifest["widths"]["state"] = step["inputs"][1]["shape"][1] = step["outputs"][3]["shape"][1] = 0


_FILE = {"path": "encoder.onnx", "sha256": "", "size": 1}
_ANY_FORMAT: dict[str, Callable[[Path], object]] = {
    "changed byte": change_byte,
    "truncated file": lambda folder: os.truncate(folder / "encoder.onnx", 100),
    "missing file": lambda folder: (folder / "prior.onnx").unlink(),
    "missing card": lambda folder: (folder / "MODEL_CARD.md").unlink(),
    "link outside": link_outside,
    "parent folder": name_file("../decoder.onnx"),
    "parent folder inside": name_file("a/../decoder.onnx"),
    "absolute path": name_file("/etc/decoder.onnx"),
    "drive": name_file("C:decoder.onnx"),
    "backslash": name_file("..\\decoder.onnx"),
    "no path": name_file(""),
    "the folder itself": name_file("."),
    "kind of file": name_file("decoder.so"),
    "changed manifest": edit(lambda m: m.update(steps=6), seal=False),
    "no digest": edit(lambda m: m.pop("digest"), seal=False),
    "newer version": edit(lambda m: m.update(version=3)),
    "no version": edit(lambda m: m.pop("version")),
    "version of another type": edit(lambda m: m.update(version="new")),
    "version 1.0": edit(lambda m: m.update(version=1.0)),
    "version true": edit(lambda m: m.update(version=True)),
    "list for a version": edit(lambda m: m.update(version=[2])),
    "other format": edit(lambda m: m.update(format="zip")),
    "missing graph": edit(lambda m: m["graphs"].pop("prior")),
    "unknown graph": edit(lambda m: m["graphs"].update(other=m["graphs"]["prior"])),
    "unknown key": edit(lambda m: m.update(more=1)),
    "unknown key inside": edit(lambda m: m["graphs"]["encoder"]["inputs"][0].update(more=1)),
    "missing key": edit(lambda m: m.pop("variant")),
    "wrong type": edit(lambda m: m.update(steps="5")),
    "wrong type inside": edit(lambda m: m["graphs"]["encoder"]["files"]["onnx"].update(opset="a")),
    "unknown precision": edit(lambda m: m["graphs"]["encoder"]["files"]["onnx"].update(precision="int4")),
    "wrong axis": edit(lambda m: m["graphs"]["encoder"]["inputs"][0].update(shape=["B", 1.5])),
    "list for an object": edit(lambda m: m.update(graphs=[])),
    "unknown kind": edit(lambda m: m["element"].update(kind="sound")),
    "wrong layout": edit(lambda m: m["element"].update(shape=[3])),
    "unknown graph format": edit(lambda m: m["graphs"]["encoder"]["files"].update(tensorrt=dict(_FILE))),
    "no onnx": edit(lambda m: [graph["files"].pop("onnx") for graph in m["graphs"].values()]),
    "graph in place of another": repeat_graph,
    "not an object": write("manifest.json", b"[]"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
}
BAD: dict[str, Callable[[Path], object]] = {
    **_ANY_FORMAT,
    "no method": edit(lambda m: m.pop("method")),
    "method of another type": edit(lambda m: m.update(method=None)),
    "keys of format 1": edit(lambda m: m.update(letters=m["widths"])),
    "no widths": edit(lambda m: m.pop("widths")),
    "unknown width": edit(lambda m: m["widths"].update(hidden_size=6)),
    "width of another type": edit(lambda m: m["widths"].update(state=None)),
    "settings are a list": edit(lambda m: m.update(settings=[])),
    "verb left out": edit(lambda m: m["capabilities"].remove("swap")),
    "verb twice": edit(lambda m: m["capabilities"].append("swap")),
    "verb had and refused": edit(lambda m: m["refusals"].update(swap="it has no static code")),
    "unknown verb": edit(lambda m: m["refusals"].update(sing="it has no voice")),
    "verbs are text": edit(lambda m: m.update(capabilities="encode")),
    "verb of another type": edit(lambda m: m["capabilities"].append(1)),
    "no reason": edit(lambda m: m.update(refusals={"stream": None})),
    "no steps at most": edit(lambda m: m.update(max_steps="8")),
    "mean of another type": edit(lambda m: m.update(feature_mean=["1.0"])),
    "graph of a verb": edit(lambda m: m["graphs"].pop("dynamic_step")),
    "unknown input": edit(lambda m: m["graphs"]["decoder"]["inputs"][0].update(name="features")),
    "unknown output": edit(lambda m: m["graphs"]["prior"]["outputs"][1].update(name="dynamic_std")),
    "missing output": edit(lambda m: m["graphs"]["static"]["outputs"].pop(0)),
    "wrong width": edit(lambda m: m["graphs"]["decoder"]["inputs"][0].update(shape=["B", 6])),
    "wrong letter": edit(lambda m: m["graphs"]["encoder"]["inputs"][0]["shape"].__setitem__(1, "N")),
    "one axis": edit(lambda m: m["graphs"]["dynamic"]["inputs"][1].update(shape=["B"])),
    "no axis": edit(lambda m: m["graphs"]["dynamic"]["inputs"][1].update(shape=[])),
    "width that does not fit": edit(lambda m: m["widths"].update(state=1)),
    "no width of the state": edit(end_stream),
    "dtype of a tensor": edit(lambda m: m["graphs"]["prior"]["inputs"][0].update(dtype="float64")),
    "dtype of the data": edit(lambda m: m["graphs"]["encoder"]["inputs"][0].update(dtype="uint8")),
    "context of nobody": edit(lambda m: m["graphs"]["static"]["outputs"].pop(2)),
    "dtype of the kind": edit(lambda m: m["element"].update(kind="vector", shape=[3], dtype="uint8")),
}
"""What is done to a bundle whose manifest has the format of today."""
BAD1: dict[str, Callable[[Path], object]] = {
    **_ANY_FORMAT,
    "no anchor": edit(lambda m: m.pop("anchor")),
    "no truth": edit(lambda m: m.update(causal=1)),
    "keys of format 2": edit(lambda m: m.update(widths=m["letters"])),
    "no letters": edit(lambda m: m.pop("letters")),
    "unknown letter": edit(lambda m: m["letters"].update(context=6)),
    "model is text": edit(lambda m: m.update(model="")),
    "graph of today": edit(lambda m: m["graphs"].update(static_prior=m["graphs"]["prior"])),
    "no width of the state": edit(lambda m: m["graphs"]["dynamic_step"]["inputs"][1].update(shape=["B", "K"])),
    "no state": edit(lambda m: m["graphs"]["dynamic_step"]["inputs"].pop(1)),
}
"""What is done to one of format 1."""
