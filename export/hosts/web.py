"""`write_page`: a folder of static files that runs a bundle in a browser.

The page's own files are those of examples/web, which an installed sdkit holds as `sdkit/export/page`.
"""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from sdkit.runtime.bundles.bundle import Bundle, sha256
from sdkit.runtime.bundles.specs import Precision
from sdkit.runtime.errors import BundleError, ConfigError, MissingExtraError, MissingFileError, first_line
from sdkit.runtime.locate import BUNDLE_FILE
from sdkit.runtime.storage.output import check_output, replacing
from sdkit.runtime.storage.sequences import Indices, SequenceFile

PAGE = Path(__file__).parents[1] / "page"
FILES = (
    "index.html",
    "style.css",
    "page.mjs",
    "view.mjs",
    "files.mjs",
    "sdkit.mjs",
    "bundle.mjs",
    "manifest.mjs",
    "contract.mjs",
    "errors.mjs",
    "noise.mjs",
    "package.json",
)
"""Files of the page; package.json states the version of onnxruntime-web."""
ENGINE = "onnxruntime-web"
ENGINE_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of the npm package that a browser needs: 14 of its 139 MB."""
NPM_SECONDS = 600
CANDIDATES = 4096
"""Number of sequences among which the samples are chosen."""


def write_page(
    bundle: Bundle,
    folder: str | Path,
    *,
    samples: str | Path | None = None,
    count: int = 12,
    engine: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Write the page, a bundle's ONNX graphs, a few sequences to begin with, and onnxruntime-web.

    Args:
        bundle: bundle with ONNX graphs.
        folder: folder to write; any server of static files can serve it, and so does `sdkit serve`.
        samples: sequence file to take samples from, of its test split if it has one; without it the page draws two.
        count: largest number of samples.
        engine: folder of the npm package onnxruntime-web; fetched by npm when None.
        force: replace an existing page.

    Raises:
        BundleError: no ONNX graphs.
        DataError: samples whose elements are not the bundle's.
        OutputExistsError: the folder exists and `force` is off.
        ConfigError: the folder exists and holds something other than a page.
        MissingExtraError: no onnxruntime-web, and no npm to fetch it.
    """
    if "onnx" not in bundle.manifest.formats:
        raise BundleError(f"{bundle.path} holds no onnx graphs, which the page runs; `sdkit export --format onnx`")
    target = check_output(folder, force=force)
    if target.exists() and not is_page(target):
        raise ConfigError(f"{target} exists and is not a page of sdkit; it is not replaced, choose another folder")
    with replacing(target, force=force) as temporary:
        temporary.mkdir()
        write_engine(temporary / ENGINE, engine)
        for name in FILES:
            shutil.copyfile(PAGE / name, temporary / name)
        write_bundle(bundle, temporary / "bundle")
        if samples is not None:
            write_samples(bundle, Path(samples), temporary / "samples", count)
    return target


def ready_bundle(
    run: str | Path | None,
    path: str | Path | None = None,
    weights: Literal["best", "last"] = "best",
    precision: Precision = "float32",
) -> Bundle | None:
    """Return a run's existing bundle if it has these weights, ONNX graphs and this precision; else None.

    Raises:
        MissingFileError: no run, or no weights in it yet.
        BundleError: a bundle that must not be used.
    """
    from sdkit.training.run import find_run

    source = find_run(run)
    folder = Path(path or source.bundle)
    if not (folder / BUNDLE_FILE).is_file():
        return None
    bundle = Bundle.open(folder)
    same = bundle.manifest.provenance.weights_sha256 == sha256(source.weights(weights))
    same = same and bundle.manifest.precision == precision
    return bundle if same and "onnx" in bundle.manifest.formats else None


def training_data(run: str | Path | None) -> Path | None:
    """Return the sequence file that a run was trained on, if it is still where it was.

    Raises:
        MissingFileError: no run.
    """
    from sdkit.training.run import find_run

    path = Path(find_run(run).config.data.path)
    return path if path.is_file() else None


def is_page(folder: Path) -> bool:
    """Return whether a folder is one that `write_page` wrote."""
    return all((folder / name).is_file() for name in ("index.html", "sdkit.mjs", f"bundle/{BUNDLE_FILE}"))


def write_bundle(bundle: Bundle, folder: Path) -> None:
    """Write a bundle's ONNX graphs, card and proof, and a manifest of these alone, since a browser checks each file."""
    folder.mkdir()
    manifest = bundle.manifest
    graphs = {
        name: msgspec.structs.replace(graph, files={"onnx": graph.files["onnx"]})
        for name, graph in manifest.graphs.items()
    }
    files = {name: spec for name, spec in manifest.files.items() if name != "golden"}
    for spec in (*(graph.files["onnx"] for graph in graphs.values()), *files.values()):
        (folder / spec.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / spec.path, folder / spec.path)
    (folder / BUNDLE_FILE).write_bytes(msgspec.structs.replace(manifest, graphs=graphs, files=files).to_json())


def write_samples(bundle: Bundle, source: Path, folder: Path, count: int) -> None:
    """Write sequences as .npy files (T, *element), and samples.json with their names and where they come from.

    Raises:
        DataError: their elements are not the bundle's.
    """
    folder.mkdir()
    with SequenceFile(source) as file:
        file.require(bundle.manifest.element, "the bundle")
        rows, lengths = choose_rows(file, count), file.lengths()
        sequences = []
        for row, x in zip(rows, file.read(rows), strict=True):
            name = f"{row:06d}.npy"
            np.save(folder / name, x if lengths is None else x[: lengths[row]], allow_pickle=False)
            sequences.append({"file": name, "name": _name(file, row)})
        meta = file.meta
        about: dict[str, Any] = {"name": meta.name, "source": meta.source, "licence": meta.licence, "rate": meta.rate}
    (folder / "samples.json").write_text(json.dumps({**about, "sequences": sequences}, indent=1) + "\n", "utf-8")


def choose_rows(file: SequenceFile, count: int) -> Indices:
    """Return the rows of sequences that differ much: each in as many labels as possible from those chosen before."""
    index = file.select("test" if file.split("test") is not None else None)
    index = np.random.Generator(np.random.Philox(0)).permutation(index)[:CANDIDATES]
    labels = file.labels()
    if labels is None:
        return index[:count]
    labels = labels[index]
    taken = [0]
    distance = np.full(len(index), np.inf)
    while len(taken) < min(count, len(index)):
        distance = np.minimum(distance, (labels != labels[taken[-1]]).sum(1))
        distance[taken] = -1
        taken.append(int(distance.argmax()))
    return index[taken]


def _name(file: SequenceFile, row: int) -> str:
    """Return what moves in a sequence and its row, such as `walk left, row 17`."""
    labels = file.labels()
    moving = [(i, factor) for i, factor in enumerate(file.factors) if factor.kind == "dynamic"]
    names = [] if labels is None else [factor.values[labels[row, i]] for i, factor in moving]
    return ", ".join([*names, f"row {row}"])


def write_engine(folder: Path, package: str | Path | None = None) -> None:
    """Write the files of onnxruntime-web that a browser needs.

    Args:
        folder: folder to write.
        package: folder of the npm package; fetched by npm when None.

    Raises:
        MissingFileError: `package` is not onnxruntime-web.
        MissingExtraError: no npm, or npm could not fetch it.
    """
    folder.mkdir()
    if package is None:
        _fetch_engine(folder)
        return
    place = Path(package) / "dist" if (Path(package) / "dist").is_dir() else Path(package)
    for name in ENGINE_FILES:
        if not (place / name).is_file():
            raise MissingFileError(f"{package} is not the npm package {ENGINE}: it holds no {name}")
        shutil.copyfile(place / name, folder / name)


def _fetch_engine(folder: Path) -> None:
    version = json.loads((PAGE / "package.json").read_text("utf-8"))["dependencies"][ENGINE]
    wanted = f"{ENGINE}@{version}"
    advice = f"`npm install {wanted}` anywhere, then pass --onnxruntime-web node_modules/{ENGINE}"
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError(f"the page needs {wanted}, and there is no npm that would fetch it; {advice}")
    with tempfile.TemporaryDirectory() as place:
        # `npm pack` fetches the one package, checks it against the registry's digest and runs nothing from it.
        command = [npm, "pack", wanted, "--pack-destination", place, "--silent"]
        try:
            result = subprocess.run(
                command, cwd=place, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise MissingExtraError(f"npm did not fetch {wanted} in {NPM_SECONDS} s; {advice}") from error
        packed = [*Path(place).glob("*.tgz")]
        if result.returncode or not packed:
            said = first_line(RuntimeError(result.stderr.strip()))
            raise MissingExtraError(f"npm could not fetch {wanted} ({said}); {advice}")
        with tarfile.open(packed[0]) as archive:
            for name in ENGINE_FILES:
                member = archive.extractfile(f"package/dist/{name}")
                if member is None:
                    raise MissingExtraError(f"{wanted} holds no {name}; {advice}")
                with (folder / name).open("wb") as stream:
                    shutil.copyfileobj(member, stream)
