"""A bundle on disk, checked before any graph of it is loaded: version, paths, sizes, digests."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.parsing import parse
from sdkit.runtime.bundles.specs import SUFFIXES, FileSpec, GraphFormat
from sdkit.runtime.errors import BundleError, BundleFileError, BundlePathError, DigestError
from sdkit.runtime.locate import BUNDLE_FILE, find_bundle_folder

ALLOWED = (*SUFFIXES.values(), ".npz", ".json", ".md")


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
        manifest = parse((folder / BUNDLE_FILE).read_bytes(), str(folder / BUNDLE_FILE))
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
        files = self.manifest.graphs[graph].files
        if format_ not in files:
            have = ", ".join(self.manifest.formats) or "none"
            raise BundleError(
                f"{self.path} holds no {format_} graphs (it holds: {have}); `sdkit export --format {format_}`"
            )
        return self.path / files[format_].path

    def file(self, name: str) -> Path:
        """Return the path of another file: `golden`, `parity` or `card`.

        Raises:
            BundleFileError: the bundle does not hold it.
        """
        if name not in self.manifest.files:
            raise BundleFileError(f"{self.path} holds no {name} file")
        return self.path / self.manifest.files[name].path


def check_file(folder: Path, spec: FileSpec) -> None:
    """Check that a file lies inside its bundle and is the one that was exported.

    Raises:
        BundlePathError, BundleFileError, DigestError.
    """
    pure = PurePosixPath(spec.path)
    outside = pure.is_absolute() or ".." in pure.parts or "\\" in spec.path or ":" in spec.path or not pure.parts
    if outside or not (folder / pure).resolve().is_relative_to(folder.resolve()):
        raise BundlePathError(
            f"{folder}: the manifest points outside the bundle, to '{spec.path}'; do not use this bundle"
        )
    if not spec.path.endswith(ALLOWED):
        raise BundlePathError(f"{folder}: the manifest names '{spec.path}', a kind of file that no bundle holds")
    file = folder / pure
    if not file.is_file():
        raise BundleFileError(f"{file} is missing, though the manifest names it; export or copy the bundle again")
    if file.stat().st_size != spec.size or sha256(file) != spec.sha256:
        raise DigestError(
            f"{file} is not the file that was exported (its bytes changed); export or copy the bundle again"
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_spec(folder: Path, name: str, **about: object) -> FileSpec:
    """Return the manifest entry of a file in `folder`."""
    path = folder / name
    return FileSpec(name, sha256(path), path.stat().st_size, **about)  # type: ignore[arg-type]
