"""What a user can get wrong: each case ends with exit code 2 and one line that says what, and leaves nothing behind."""

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Array, Element
from sdkit.runtime.storage.sequences import SequenceMeta, SequenceWriter
from tests.export.runs import copy, quick_export, reseal, write_run
from tests.tiny import IMAGE, sequences, tiny_model

FLOAT = Element("image", (3, 16, 16), "float32", ("level",))
BOUND = (
    *("encode in.h5", "decode in.h5", "reconstruct in.h5", "swap in.h5 in.h5", "generate"),
    *("bench --data in.h5", "info", "verify"),
)
"""Every command that opens a bundle."""
SMALL = "--set encoder_widths=[4,6,8] --set decoder_widths=[8,6,4]"
"""Widths that suit images of 16x16."""


@dataclass(frozen=True)
class Bench:
    """The folder a command runs in, and what is needed to fill it."""

    folder: Path
    models: dict[str, Bundle]
    patch: pytest.MonkeyPatch

    def write(self, name: str, data: Array | None) -> None:
        with h5py.File(self.folder / name, "w") as file:
            if data is not None:
                file["data"] = data

    def sequences(self, name: str, count: int = 4, element: Element = IMAGE) -> None:
        with SequenceWriter(self.folder / name, SequenceMeta(element)) as writer:
            writer.write(sequences(count, 5, element))

    def bundle(self, dtype: str = "uint8") -> Bundle:
        """Copy a bundle here, as SDKIT_BUNDLE."""
        self.patch.setenv("SDKIT_BUNDLE", "model")
        return copy(self.models[dtype], self.folder / "model")

    def run(self) -> None:
        shutil.copytree(self.models["uint8"].path.parent, self.folder / "runs" / "blocks")

    def text(self, *names: str) -> None:
        for name in names:
            (self.folder / name).write_text("mine")


Prepare = Callable[[Bench], object]


@dataclass(frozen=True)
class Case:
    """A command line and what its error must name."""

    name: str
    command: str
    says: tuple[str, ...]
    prepare: Prepare = lambda bench: None


def _all(*prepare: Prepare) -> Prepare:
    def run(bench: Bench) -> None:
        for step in prepare:
            step(bench)

    return run


def _with_bundle(*prepare: Prepare, dtype: str = "uint8") -> Prepare:
    return _all(lambda bench: bench.bundle(dtype), *prepare)


def _good(bench: Bench) -> None:
    bench.sequences("in.h5")
    bench.sequences("two.h5", 2)


def _not_hdf5(bench: Bench) -> None:
    bench.text("in.h5")


def _no_byte(bench: Bench) -> None:
    (bench.folder / "in.h5").touch()


def _nan(bench: Bench) -> None:
    x = sequences(4, 5, FLOAT)
    x[2, 1, 0, 3, 4] = np.nan
    bench.write("in.h5", x)
    (bench.folder / "runs").mkdir()


def _array(*shape: int, dtype: Any = np.uint8) -> Prepare:
    return lambda bench: bench.write("in.h5", np.zeros(shape, dtype))


def _changed_byte(bench: Bench) -> None:
    bundle = bench.bundle()
    file = bundle.graph_file("decoder", "onnx")
    text = bytearray(file.read_bytes())
    text[len(text) // 2] ^= 1
    file.write_bytes(text)


def _outside(bench: Bench) -> None:
    bundle = bench.bundle()
    graph = bundle.manifest.graphs["static"]
    spec = msgspec.structs.replace(graph.files["onnx"], path="../static.onnx")
    shutil.copy(bundle.graph_file("static", "onnx"), bench.folder / "static.onnx")
    graph = msgspec.structs.replace(graph, files={**graph.files, "onnx": spec})
    reseal(bundle, graphs={**bundle.manifest.graphs, "static": graph})


def _codes(bench: Bench) -> None:
    with h5py.File(bench.folder / "codes.h5", "w") as file:
        file["static"], file["dynamic"] = np.zeros((2, 9), np.float32), np.zeros((2, 5, 4), np.float32)


def _foreign_codes(bench: Bench) -> None:
    with h5py.File(bench.folder / "codes.h5", "w") as file:
        file["static"], file["dynamic"] = np.zeros((2, 5), np.float32), np.zeros((2, 5, 4), np.float32)
        file.attrs["model"] = "0" * 64


def _files(*names: str) -> Prepare:
    return lambda bench: bench.text(*names)


def _missing(module: str) -> Prepare:
    return lambda bench: bench.patch.setitem(sys.modules, module, None)


def _no_cuda(bench: Bench) -> None:
    bench.patch.setattr(torch.cuda, "is_available", lambda: False)


def _unfinished_run(bench: Bench) -> None:
    bench.run()
    shutil.rmtree(bench.folder / "runs" / "blocks" / "bundle")


CASES = [
    # Files that are not what they should be.
    Case("no such file", "train in.h5", ("in.h5 does not exist",)),
    Case("no byte", "encode in.h5", ("in.h5 is not an HDF5 file",), _with_bundle(_no_byte)),
    Case("not HDF5, train", "train in.h5", ("in.h5 is not an HDF5 file",), _not_hdf5),
    Case("not HDF5, encode", "encode in.h5", ("in.h5 is not an HDF5 file",), _with_bundle(_not_hdf5)),
    Case("not HDF5, data info", "data info in.h5", ("in.h5 is not an HDF5 file",), _not_hdf5),
    Case("not HDF5, render", "render in.h5", ("in.h5 is not an HDF5 file",), _not_hdf5),
    Case("not HDF5, bench", "bench --data in.h5", ("in.h5 is not an HDF5 file",), _with_bundle(_not_hdf5)),
    Case("no data", "train in.h5", ("in.h5", "'data'", "holds: none"), lambda bench: bench.write("in.h5", None)),
    Case("too few axes", "train in.h5", ("in.h5", "(4, 16)", "(N, T, C, H, W)"), _array(4, 16)),
    Case("channels last", "train in.h5", ("in.h5", "channels last", "(N, T, C, H, W)"), _array(4, 5, 16, 16, 3)),
    Case("float64", "train in.h5", ("in.h5", "float64", "uint8 or float32"), _array(4, 5, 3, 16, 16, dtype="f8")),
    Case("NaN, train", f"train in.h5 {SMALL}", ("in.h5", "NaN", "[2, 1, 0, 3, 4]"), _nan),
    Case("NaN, encode", "encode in.h5", ("in.h5", "NaN", "[2, 1, 0, 3, 4]"), _with_bundle(_nan, dtype="float32")),
    Case("NaN, data info", "data info --check in.h5", ("in.h5", "NaN", "[2, 1, 0, 3, 4]"), _nan),
    Case("N = 0", "train in.h5", ("in.h5", "empty"), _array(0, 5, 3, 16, 16)),
    Case("T = 1", "train in.h5", ("in.h5", "T = 1", "at least 2"), _array(4, 1, 3, 16, 16)),
    # Files that do not fit the model.
    Case("shape", "encode in.h5", ("in.h5", "(3, 8, 8)", "(3, 16, 16)"), _with_bundle(_array(4, 5, 3, 8, 8))),
    Case("dtype", "encode in.h5", ("in.h5", "float32", "uint8"), _with_bundle(_array(4, 5, 3, 16, 16, dtype="f4"))),
    Case("code sizes", "decode codes.h5", ("codes.h5", "S = 9", "S = 5"), _with_bundle(_codes)),
    Case(
        "encode codes",
        "encode codes.h5",
        ("codes.h5 holds codes, not sequences", "sdkit decode codes.h5"),
        _with_bundle(_foreign_codes),
    ),
    Case("other codes", "decode codes.h5", ("codes.h5", "another model"), _with_bundle(_foreign_codes)),
    Case(
        "decode sequences",
        "decode in.h5",
        ("in.h5 holds sequences, not codes", "sdkit encode in.h5 -o codes.h5"),
        _with_bundle(_good),
    ),
    Case("swap of N", "swap in.h5 two.h5", ("in.h5 has 4", "two.h5 has 2", "--count 2"), _with_bundle(_good)),
    Case("count", "swap in.h5 two.h5 --count 3", ("--count 3", "two.h5"), _with_bundle(_good)),
    Case("bench of too many", "bench --data in.h5 -n 9", ("--count 9", "in.h5 holds 4"), _with_bundle(_good)),
    Case("split", "encode in.h5 --split val", ("in.h5", "'val'", "all"), _with_bundle(_good)),
    # Settings.
    Case("preset", "train in.h5 --preset sprits", ("'sprits'", "did you mean 'sprites'?", "puppets"), _good),
    Case(
        "preset of another kind",
        "train in.h5 --preset series",
        ("preset 'series' is for elements of kind series", "in.h5 holds image (3, 16, 16) uint8", "puppets, sprites"),
        _good,
    ),
    Case("method", "train in.h5 --method dbes", ("'dbes'", "did you mean 'dbse'?", "there are: "), _good),
    Case("variant", "train in.h5 --variant papre", ("'papre'", "of dbse", "did you mean 'paper'?", "release"), _good),
    Case("methods", "methods dbes", ("'dbes'", "did you mean 'dbse'?")),
    Case(
        "setting of another method",
        "train in.h5 --method dsvae --set alpha=1",
        ("unknown setting 'alpha'", "--list-settings"),
        _good,
    ),
    Case("setting", "train in.h5 --set bta=1", ("'bta'", "did you mean 'beta'?", "--list-settings"), _good),
    Case("argument as setting", "train in.h5 --set device=cpu", ("--set device", "--help"), _good),
    Case("no value", "train in.h5 --set beta", ("--set beta", "name=value"), _good),
    Case("text value", "train in.h5 --set beta=high", ("beta", "float"), _good),
    Case("negative value", "train in.h5 --set beta=-1", ("beta = -1", "at least 0"), _good),
    Case("name", f"train in.h5 --name a/b {SMALL}", ("--name a/b", "plain folder name"), _good),
    Case("device, train", "train in.h5 --device tpu", ("'tpu'", "auto, cpu, cuda or cuda:N"), _good),
    Case("device, encode", "encode in.h5 --device tpu", ("'tpu'", "auto, cpu, cuda or cuda:N"), _with_bundle(_good)),
    Case(
        "no CUDA, train",
        "train in.h5 --device cuda",
        ("device cuda", "no CUDA device", "auto or cpu"),
        _all(_good, _no_cuda),
    ),
    Case(
        "no CUDA, torchscript",
        "encode in.h5 --device cuda --backend torchscript",
        ("device cuda", "auto or cpu"),
        _with_bundle(_good, _no_cuda),
    ),
    Case("steps", "generate --steps 1", ("1 steps", "at least 2"), _with_bundle()),
    Case("no steps", "generate --steps 0", ("0 steps", "at least 2"), _with_bundle()),
    Case("keep alone", "generate --keep static", ("--keep and --like",), _with_bundle()),
    Case("like alone", "generate --like in.h5", ("--keep and --like",), _with_bundle(_good)),
    Case(
        "steps and like",
        "generate --keep static --like in.h5 --steps 9",
        ("--steps 9", "in.h5"),
        _with_bundle(_good),
    ),
    Case("opset", "export --opset 9", ("9", "17"), lambda bench: bench.run()),
    # Pictures.
    Case("picture ending", "render in.h5 -o in.jpg", ("in.jpg", ".png or .gif"), _good),
    Case("picture of codes", "render codes.h5", ("codes.h5", "sdkit decode codes.h5"), _codes),
    Case("nothing to draw", "render in.h5 --first 4", ("in.h5", "4"), _good),
    Case("swap picture", "swap in.h5 in.h5 --picture a.jpg", ("a.jpg", ".png"), _with_bundle(_good)),
    Case(
        "swap into its picture",
        "swap in.h5 in.h5 -o a.png",
        ("a.png", "both output and picture", "--no-picture"),
        _with_bundle(_good),
    ),
    # Data sets.
    Case("data set", "data make puppet", ("'puppet'", "did you mean 'puppets'?")),
    Case("no source", "data make sprites", ("'sprites'", "folder or zip")),
    Case("no sheets", "data make sprites sheets", ("sheets does not exist", "zip")),
    Case("a sheet", "data make sprites sheets", ("body/0.png", "missing"), lambda b: (b.folder / "sheets").mkdir()),
    Case("a source", "data make puppets sheets", ("'puppets'", "no source")),
    Case("no folder", "data make puppets --count 1 -o a/b.h5", ("a/b.h5", "does not exist")),
    # Outputs that exist.
    *(
        Case(f"output of {line}", line, (output, "exists already", "--force"), prepare)
        for line, output, prepare in [
            ("data make puppets --count 1", "puppets.h5", _files("puppets.h5")),
            ("export", "runs/blocks/bundle", lambda bench: bench.run()),
            ("encode in.h5", "codes.h5", _with_bundle(_good, _files("codes.h5"))),
            ("reconstruct in.h5", "reconstructed.h5", _with_bundle(_good, _files("reconstructed.h5"))),
            ("swap in.h5 in.h5", "swap.h5", _with_bundle(_good, _files("swap.h5"))),
            ("swap in.h5 in.h5", "swap.png", _with_bundle(_good, _files("swap.png"))),
            ("generate", "generated.h5", _with_bundle(_files("generated.h5"))),
            ("generate --keep static --like in.h5", "generated.h5", _with_bundle(_good, _files("generated.h5"))),
            ("render in.h5", "in.png", _all(_good, _files("in.png"))),
        ]
    ),
    Case("a run", f"train in.h5 --name blocks {SMALL}", ("runs/blocks", "--resume"), _all(_good, Bench.run)),
    Case("onto itself", "reconstruct in.h5 -o in.h5 --force", ("in.h5", "both input and output"), _with_bundle(_good)),
    # Bundles and runs.
    *(Case(f"no bundle, {line}", line, ("sdkit train", "sdkit export"), _good) for line in BOUND),
    Case("no run, export", "export", ("runs", "sdkit train")),
    Case("no run, resume", "train --resume", ("runs", "sdkit train")),
    Case("not a run", "export nowhere", ("nowhere is not a run",)),
    Case("not a bundle", "info nowhere", ("nowhere is not a bundle", "sdkit export")),
    Case("run without bundle", "info", ("runs/blocks has no bundle yet", "sdkit export"), _unfinished_run),
    *(Case(f"changed byte, {line}", line, ("decoder.onnx", "changed"), _changed_byte) for line in ("info", "generate")),
    Case("outside", "info", ("outside", "../static.onnx", "do not use"), _outside),
    Case(
        "no such format",
        "encode in.h5 --backend torchscript -b model",
        ("torchscript", "sdkit export --format"),
        _all(_good, lambda bench: bench.bundle("float32")),
    ),
    # Extras that are not installed.
    Case("no torch", "train in.h5", ("torch", "pip install 'sdkit[train]'"), _all(_good, _missing("torch"))),
    Case("no onnx", "export", ("onnx", "pip install 'sdkit[train]'"), _all(Bench.run, _missing("onnx"))),
    Case(
        "no onnxruntime",
        "swap in.h5 in.h5",
        ("onnxruntime", "pip install 'sdkit[cpu]'"),
        _with_bundle(_good, _missing("onnxruntime")),
    ),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Return bundles of tiny models by dtype: uint8 in both formats, float32 in ONNX alone."""
    folder = tmp_path_factory.mktemp("models")
    return {
        e.dtype: quick_export(write_run(folder / e.dtype, tiny_model(element=e)), format=format_)
        for e, format_ in ((IMAGE, "all"), (FLOAT, "onnx"))
    }


@pytest.fixture
def bench(tmp_path: Path, models: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    for name in ("SDKIT_RUN", "SDKIT_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    return Bench(tmp_path, models, monkeypatch)


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_one_line(case: Case, bench: Bench) -> None:
    case.prepare(bench)
    before = _snapshot(bench.folder)
    result = CliRunner().invoke(app, shlex.split(case.command))
    assert isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.stderr.splitlines() if line]
    assert result.exit_code == 2, result.stderr
    assert lines[-1].startswith("error: ")
    assert sum(line.startswith("error:") for line in lines) == 1
    assert "Traceback" not in result.output
    for text in case.says:
        assert text in lines[-1]
    assert result.stdout == ""
    assert _snapshot(bench.folder) == before


def test_a_bug_of_ours_is_no_mistake_of_theirs(bench: Bench) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    bench.patch.setattr("sdkit.runtime.describe.describe_bundle", fail)
    result = CliRunner().invoke(app, ["info"])
    assert isinstance(result.exception, ZeroDivisionError)
