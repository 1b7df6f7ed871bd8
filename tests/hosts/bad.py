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
        if seal:
            text = json.dumps({**manifest, "digest": ""}, separators=(",", ":"), ensure_ascii=False)
            manifest["digest"] = hashlib.sha256(text.encode()).hexdigest()
        file.write_text(json.dumps(manifest, indent=3))

    return spoil


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


def exchange_graphs(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        graphs = manifest["graphs"]
        graphs["static"]["files"], graphs["prior"]["files"] = graphs["prior"]["files"], graphs["static"]["files"]

    edit(change)(folder)


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


_FILE = {"path": "encoder.onnx", "sha256": "", "size": 1}
BAD: dict[str, Callable[[Path], object]] = {
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
    "newer version": edit(lambda m: m.update(version=2)),
    "no version": edit(lambda m: m.pop("version")),
    "version of another type": edit(lambda m: m.update(version="new")),
    "other format": edit(lambda m: m.update(format="zip")),
    "missing graph": edit(lambda m: m["graphs"].pop("prior")),
    "no width of the state": edit(lambda m: m["graphs"]["dynamic_step"]["inputs"][1].update(shape=["B", "K"])),
    "unknown graph": edit(lambda m: m["graphs"].update(other=m["graphs"]["prior"])),
    "unknown key": edit(lambda m: m.update(more=1)),
    "unknown key inside": edit(lambda m: m["graphs"]["encoder"]["inputs"][0].update(more=1)),
    "missing key": edit(lambda m: m.pop("anchor")),
    "wrong type": edit(lambda m: m.update(steps="5")),
    "wrong type inside": edit(lambda m: m["graphs"]["encoder"]["files"]["onnx"].update(opset="a")),
    "unknown precision": edit(lambda m: m["graphs"]["encoder"]["files"]["onnx"].update(precision="int4")),
    "wrong axis": edit(lambda m: m["graphs"]["encoder"]["inputs"][0].update(shape=["B", 1.5])),
    "no truth": edit(lambda m: m.update(causal=1)),
    "list for an object": edit(lambda m: m.update(graphs=[])),
    "unknown kind": edit(lambda m: m["element"].update(kind="sound")),
    "wrong layout": edit(lambda m: m["element"].update(shape=[3])),
    "unknown graph format": edit(lambda m: m["graphs"]["encoder"]["files"].update(tensorrt=dict(_FILE))),
    "no onnx": edit(lambda m: [graph["files"].pop("onnx") for graph in m["graphs"].values()]),
    "graphs exchanged": exchange_graphs,
    "not an object": write("manifest.json", b"[]"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
}
