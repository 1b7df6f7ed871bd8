"""A bundle on disk, checked before any graph of it is loaded: version, paths, sizes, digests."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.onnx_file import check_onnx
from sdkit.runtime.bundles.parsing import parse
from sdkit.runtime.bundles.specs import SUFFIXES, FileSpec, GraphFormat
from sdkit.runtime.errors import BundleError, BundleFileError, BundlePathError, DigestError, ManifestError
from sdkit.runtime.locate import BUNDLE_FILE, find_bundle_folder

LARGEST = {**dict.fromkeys(SUFFIXES.values(), 2**31), ".npz": 2**30, ".json": 2**26, ".md": 2**26}
"""Kinds of files that a bundle holds, and bytes that one may have: of a graph what protobuf allows, of the others many
times what any model needs. A larger one is refused before it is read."""
LARGEST_MANIFEST = 2**24


@dataclass(frozen=True)
class Bundle:
    """A folder of exported graphs and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path | None = None) -> "Bundle":
        """Open and check a bundle: the one given, else SDKIT_BUNDLE, else the newest run's.

        Raises:
            MissingFileError: there is none.
            BundleError: it cannot be used; the subclass says why.

        >>> bundle = sdkit.Bundle.open("runs/puppets")
        >>> bundle.manifest.method, bundle.manifest.variant
        ('dbse', 'filter')
        """
        folder = find_bundle_folder(path)
        manifest = parse(_read_manifest(folder / BUNDLE_FILE), str(folder / BUNDLE_FILE))
        bundle = cls(folder, manifest)
        for spec in bundle.specs():
            check_file(folder, spec)
        return bundle

    def specs(self) -> list[FileSpec]:
        """Return every file that the manifest names."""
        graphs = [spec for graph in self.manifest.graphs.values() for spec in graph.files.values()]
        return [*graphs, *self.manifest.files.values()]

    def graph_file(self, graph: str, format_: GraphFormat) -> Path:
        """Return the path of a graph.

        Raises:
            BundleError: the bundle does not hold it in this format.
        """
        return self.path / self._graph_spec(graph, format_).path

    def graph_bytes(self, graph: str, format_: GraphFormat) -> bytes:
        """Return the bytes of a graph: what was checked when the bundle was opened, or an error.

        Raises:
            BundleError: the bundle does not hold it in this format, or it was changed since.

        >>> bundle = sdkit.Bundle.open("runs/puppets")
        >>> len(bundle.graph_bytes("encoder", "onnx")) == bundle.manifest.graphs["encoder"].files["onnx"].size
        True
        """
        spec = self._graph_spec(graph, format_)
        return _read(_inside(self.path, spec.path), spec)

    def _graph_spec(self, graph: str, format_: GraphFormat) -> FileSpec:
        files = self.manifest.graphs[graph].files
        if format_ not in files:
            have = ", ".join(self.manifest.formats) or "none"
            raise BundleError(
                f"{self.path} holds no {format_} graphs (it holds: {have}); `sdkit export --format {format_}`"
            )
        return files[format_]

    def file(self, name: str) -> Path:
        """Return the path of another file: `golden`, `parity` or `card`.

        Raises:
            BundleFileError: the bundle does not hold it.
        """
        if name not in self.manifest.files:
            raise BundleFileError(f"{self.path} holds no {name} file")
        return self.path / self.manifest.files[name].path


def check_file(folder: Path, spec: FileSpec) -> None:
    """Check that a file lies inside its bundle and is the one that was exported, and that an ONNX graph is whole.

    Raises:
        BundlePathError, BundleFileError, DigestError.
        BundleError: a graph that takes weights from another file.
    """
    file = _inside(folder, spec.path)
    with _readable(file):
        if not file.is_file():
            raise BundleFileError(f"{file} is missing, though the manifest names it; export or copy the bundle again")
        size = file.stat().st_size
    most = next(most for suffix, most in LARGEST.items() if spec.path.endswith(suffix))
    if size > most:
        raise BundleFileError(f"{file} has {size:,} bytes; a file of its kind has {most:,} at most")
    if spec.path.endswith(SUFFIXES["onnx"]):
        check_onnx(_read(file, spec), str(file))
        return
    with _readable(file):
        same = size == spec.size and sha256(file) == spec.sha256
    if not same:
        raise _changed(file)


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a manifest names, which may not lead out of the bundle."""
    pure = PurePosixPath(name)
    outside = pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or not pure.parts
    try:
        # A name with NUL is a ValueError, a link to itself a RuntimeError or an OSError.
        outside = outside or not name.isprintable() or not (folder / pure).resolve().is_relative_to(folder.resolve())
    except (ValueError, RuntimeError, OSError):
        outside = True
    if outside:
        raise BundlePathError(f"{folder}: the manifest points outside the bundle, to '{name}'; do not use this bundle")
    if not name.endswith(tuple(LARGEST)):
        raise BundlePathError(f"{folder}: the manifest names '{name}', a kind of file that no bundle holds")
    return folder / pure


def _read(file: Path, spec: FileSpec) -> bytes:
    """Return the bytes of a file of a bundle if they are those that were exported."""
    with _readable(file):
        data = file.read_bytes() if file.stat().st_size == spec.size else b""
    if hashlib.sha256(data).hexdigest() != spec.sha256:
        raise _changed(file)
    return data


def _read_manifest(file: Path) -> bytes:
    with _readable(file):
        if file.stat().st_size > LARGEST_MANIFEST:
            raise ManifestError(f"{file} has more than {LARGEST_MANIFEST:,} bytes, which no manifest has")
        return file.read_bytes()


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn errors of the file system into ours."""
    try:
        yield
    except BundleError:
        raise
    except OSError as error:
        raise BundleFileError(f"{file} cannot be read: {error.strerror or error}") from error


def _changed(file: Path) -> DigestError:
    return DigestError(f"{file} is not the file that was exported (its bytes changed); export or copy the bundle again")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_spec(folder: Path, name: str, **about: object) -> FileSpec:
    """Return the manifest entry of a file in `folder`."""
    path = folder / name
    return FileSpec(name, sha256(path), path.stat().st_size, **about)  # type: ignore[arg-type]
