"""Every host against the conformance set, in one table: `make hosts`, or

    python -m tests.hosts.table [--build FOLDER] [--all]

A cell says whether every result of a verb is within its tolerance of the kept one, and the largest difference: of codes
as it is, of decoded data in units of their range (images) or of the smallest standard deviation of a feature (series).
What a host needs and this machine lacks is told below the table; with --all that is a failure, as any wrong result is.
"""

import argparse
import json
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.runtime.errors import SdkitError
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.runtime import Runtime
from tests.hosts import cpp, web
from tests.hosts.bad import BAD
from tests.hosts.golden import KEPT, found, philox, read, refused, too_long, with_torchscript

SPOILT = (
    "changed byte",
    "truncated file",
    "missing file",
    "parent folder",
    "absolute path",
    "kind of file",
    "changed manifest",
    "newer version",
    "missing graph",
    "unknown key",
)
"""Of the bad bundles of the tests, those that any host can meet: a browser knows no links, LibTorch no ONNX."""
LINE = re.compile(r"(ok|BAD) +(\S+ \S+) +largest difference (\S+?),? ")
REFUSED, PAGE = "bad bundles", "page: swapped pixels"
REFUSALS = "refusals"
"""Verbs that a model has not, and more steps than its prior draws."""


@dataclass(frozen=True)
class Cell:
    """Whether a result fits, and by how much it is off."""

    fits: bool
    largest: float
    words: str = ""
    """What is shown instead of the difference."""


@dataclass
class Column:
    """A host."""

    name: str
    cells: dict[str, Cell] = field(default_factory=dict)
    """By result: `image encode()/static`, `noise0 raw`, or a row of its own."""
    reason: str = ""
    """Why it was skipped."""


def python(spoilt: dict[str, Path], folder: Path, _build: Path) -> dict[str, Cell]:
    """Return what the Python runtime gives."""
    golden = json.loads((folder / "golden.json").read_text())
    cells = {}
    for name, about in golden["bundles"].items():
        rt = Runtime.open(folder / name, device="cpu", threads=1, batch_size=2)
        outputs = {result: (read(folder, array), array) for result, array in about["outputs"].items()}
        inputs = {key: read(folder, array) for key, array in about["inputs"].items()}
        results = found(rt, inputs)
        if "cast()/x" in outputs:
            results["cast()/x"] = rt.element.cast(outputs["decode()/x"][0])
        for result, value in results.items():
            want, allowed = outputs[result]
            difference = np.abs(value.astype(float) - want)
            fits = value.dtype == want.dtype and difference <= allowed["atol"] + allowed["rtol"] * np.abs(want)
            cells[f"{name} {result}"] = Cell(bool(np.all(fits)), float(difference.max()))
        good = refused(rt, inputs) == about["refused"]
        if limit := about.get("limit"):
            good &= too_long(rt, limit["steps"]) == limit["message"]
        cells[f"{name} {REFUSALS}"] = Cell(good, 0.0)
    for i, noise in enumerate(golden["noise"]):
        seed, purpose, first = int(noise["seed"]), Purpose(noise["purpose"]), int(noise["first"])
        raw, normal = read(folder, noise["raw"]), read(folder, noise["normal"])
        cells[f"noise{i} raw"] = Cell(bool((philox(seed, purpose, first, len(raw)) == raw).all()), 0.0)
        off = float(np.abs(standard_normal(seed, purpose, first, normal.shape) - normal).max())
        cells[f"noise{i} normal"] = Cell(off <= 1e-6, off)

    def refuses(path: Path) -> bool:
        try:
            Runtime.open(path, device="cpu", threads=1)
        except SdkitError:
            return True
        return False

    return cells | {REFUSED: counted(refuses(path) for path in spoilt.values())}


def cpp_onnx(spoilt: dict[str, Path], folder: Path, build: Path) -> dict[str, Cell]:
    """Return what the C++ host gives on ONNX Runtime."""
    if cpp.LIBRARY is None:
        pytest.skip("this onnxruntime has no libonnxruntime.so")
    return _program(cpp.SOURCES, build / "cpp", "sdkit-conformance", folder, spoilt)


def cpp_torch(spoilt: dict[str, Path], folder: Path, build: Path) -> dict[str, Cell]:
    """Return what the C++ host gives on LibTorch."""
    torch = pytest.importorskip("torch", reason="no torch, which brings LibTorch")
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    return _program(cpp.SOURCES / "torch", build / "torch", "sdkit-conformance-torch", folder, spoilt, prefix)


def _program(
    sources: Path, build: Path, name: str, folder: Path, spoilt: dict[str, Path], *options: str
) -> dict[str, Cell]:
    reason = cpp.build(sources, build, *options, kind="Release")
    if reason is not None:
        pytest.skip(reason)
    cells = parsed(cpp.run(build / name, "golden", folder))
    refused = (cpp.run(build / name, "open", path).returncode == 2 for path in spoilt.values())
    return cells | {REFUSED: counted(refused)}


def node(spoilt: dict[str, Path], folder: Path, _build: Path) -> dict[str, Cell]:
    """Return what the JavaScript host gives in node."""
    command = [web.node(), str(web.SOURCES / "conformance.mjs"), "--onnxruntime-web", str(web.engine())]
    cells = parsed(cpp.run(*command, folder))
    opened = cpp.run(*command, "--open", *spoilt.values())
    refused = [bool(json.loads(line)["error"]) for line in opened.stdout.splitlines()]
    return cells | {REFUSED: counted([*refused, *[False] * (len(spoilt) - len(refused))])}


def browser(spoilt: dict[str, Path], folder: Path, _build: Path) -> dict[str, Cell]:
    """Return what the page gives in a browser: the module on the set, and the pixels that the page itself draws."""
    web.browser(), web.engine()
    from tests.hosts import test_page as pages  # skips where there is no Playwright

    with tempfile.TemporaryDirectory() as place, pages.playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=web.browser(), args=["--no-sandbox"])
        for served in pages.serve(folder, Path(place), "image"):
            shutil.copytree(folder, served.folder / "set")
            shutil.copyfile(web.SOURCES / "golden.mjs", served.folder / "golden.mjs")
            for i, path in enumerate(spoilt.values()):
                shutil.copytree(path, served.folder / f"spoilt{i}")
            visit = pages.Visit(chromium, served.address)
            worst = drawn(visit, served)
            page = Cell(worst <= pages.GREY and not visit.errors, worst, f"within {worst} of 255")
            compared = visit.page.evaluate(IN_BROWSER, len(spoilt))
            chromium.close()
    cells = {one["name"]: Cell(one["fits"], float(one["largest"])) for one in compared["set"]} | {PAGE: page}
    return cells | {REFUSED: counted(name is not None for name in compared["refused"])}


IN_BROWSER = """async (count) => {
  const ort = await import("/onnxruntime-web/ort.wasm.bundle.min.mjs");
  const { conform } = await import("/golden.mjs");
  const { Runtime, SdkitError } = await import("/sdkit.mjs");
  const set = await conform(new URL("/set", location.href).href, ort);
  const refused = [];
  for (let i = 0; i < count; i++) {
    const where = new URL(`/spoilt${i}`, location.href).href;
    refused.push(await Runtime.open(where, { ort }).then(() => null, (e) => (e instanceof SdkitError ? e.name : null)));
  }
  return { set, refused };
}"""


def drawn(visit: Any, served: Any) -> int:
    """Return by how many grey levels the swap that the page draws is off from Python's, at most."""
    visit.choose("a", "motion 2, row 2")
    visit.choose("b", "motion 5, row 5")
    swapped = served.rt.swap(served.samples[2], served.samples[5])
    worst = 0
    for name, clip in zip(("a-with-b", "b-with-a"), map(served.rt.element.cast, swapped), strict=True):
        for step in range(clip.shape[1]):
            visit.fill("frame", step)
            shown = visit.pixels(name)[..., :3].astype(int)
            worst = max(worst, int(np.abs(shown - clip[0, step].transpose(1, 2, 0)).max()))
    return worst


def parsed(result: subprocess.CompletedProcess[str]) -> dict[str, Cell]:
    """Return the results that a program printed; where it ran several batch sizes, the worst of each."""
    cells: dict[str, Cell] = {}
    for line in result.stdout.splitlines():
        if match := LINE.match(line):
            cell, before = Cell(match[1] == "ok", float(match[3])), cells.get(match[2])
            if before is None or not cell.fits or (before.fits and cell.largest > before.largest):
                cells[match[2]] = cell
    if not cells:
        print(result.stdout + result.stderr)
    return cells


def counted(refused: Iterable[bool]) -> Cell:
    """Return how many bad bundles were refused."""
    answers = list(refused)
    return Cell(all(answers), math.nan, f"{sum(answers)} of {len(answers)} refused")


def rows(golden: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the results of each row, and the units in which their differences are told."""
    table: dict[str, dict[str, float]] = {"noise": {}}
    for i in range(len(golden["noise"])):
        table["noise"] |= {f"noise{i} raw": 1.0, f"noise{i} normal": 1.0}
    for name, about in golden["bundles"].items():
        for result, array in about["outputs"].items():
            table.setdefault(result.partition("/")[0], {})[f"{name} {result}"] = array["scale"]
    table[REFUSALS] = {f"{name} {REFUSALS}": 1.0 for name in golden["bundles"]}
    return {**table, REFUSED: {REFUSED: 1.0}, PAGE: {PAGE: 1.0}}


def joined(column: Column, results: dict[str, float]) -> Cell | None:
    """Return a host's cell of a row; a result that it did not give does not fit. None where the row is not its own."""
    if column.reason or (PAGE in results and PAGE not in column.cells):
        return None
    missing = Cell(False, math.nan, "missing")
    cells = {name: column.cells.get(name, missing) for name in results}
    words = next((cell.words for cell in cells.values() if cell.words), "")
    largest = max(cell.largest / results[name] for name, cell in cells.items())
    return Cell(all(cell.fits for cell in cells.values()), largest, words)


def text(cell: Cell | None) -> str:
    """Return a cell as it is shown."""
    if cell is None:
        return "-"
    return f"{'ok' if cell.fits else 'BAD'}, {cell.words or (f'{cell.largest:.1e}' if cell.largest else '0')}"


HOSTS: dict[str, Callable[[dict[str, Path], Path, Path], dict[str, Cell]]] = {
    "Python": python,
    "C++, ONNX Runtime": cpp_onnx,
    "C++, LibTorch": cpp_torch,
    "node": node,
    "browser": browser,
}


def measure(build: Path) -> list[Column]:
    """Run every host, LibTorch on TorchScript graphs of the same models."""
    columns = []
    with tempfile.TemporaryDirectory() as place:
        both = with_torchscript(Path(place) / "both")
        for name, host in HOSTS.items():
            print(f"{name} ...", flush=True)
            folder = both if host is cpp_torch else KEPT
            spoilt = {what: Path(place) / name.replace(" ", "-") / what.replace(" ", "-") for what in SPOILT}
            for what, path in spoilt.items():
                shutil.copytree(folder / "series", path)
                BAD[what](path)
            column = Column(name)
            try:
                column.cells = host(spoilt, folder, build)
            except pytest.skip.Exception as reason:
                column.reason = str(reason)
            except AssertionError as error:  # a compiler that fails: every result is missing, and the others still run
                print(error)
            columns.append(column)
    return columns


def show(columns: list[Column]) -> bool:
    """Print the table, and return whether every result fits."""
    golden = json.loads((KEPT / "golden.json").read_text())
    lines = [["verb", *(column.name for column in columns)]]
    good = True
    for verb, results in rows(golden).items():
        cells = [joined(column, results) for column in columns]
        good &= all(cell is None or cell.fits for cell in cells)
        shown = ("skipped" if column.reason else text(cell) for column, cell in zip(columns, cells, strict=True))
        lines.append([verb, *shown])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    print()
    for line in lines:
        print("| " + " | ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) + " |")
    for column in columns:
        if column.reason:
            print(f"\n{column.name} was skipped: {column.reason}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, help="folder for the C++ programs, to keep; a temporary one by default")
    parser.add_argument("--all", action="store_true", help="fail where a host was skipped")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        columns = measure(arguments.build or Path(place))
    good = show(columns)
    raise SystemExit(0 if good and not (arguments.all and any(column.reason for column in columns)) else 1)


if __name__ == "__main__":
    main()
