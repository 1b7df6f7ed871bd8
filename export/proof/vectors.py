"""Golden vectors of a bundle, checked before any of them is used: names, dtypes, shapes and sizes.

The file is a zip of numpy arrays, and a digest says only that it is the one that the manifest names. So the table of
its contents is held against the manifest before anything is unpacked, and nothing is unpacked beyond what is stated.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from sdkit.export.proof.cases import STATIC_NOISE, Arrays, split_golden
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.format1 import RENAMED
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.contract import GRAPHS, STATIC_PRIOR, TENSORS, VERBS, WIDTHS, Axes, axes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import BundleError, first_line
from sdkit.runtime.verbs.arrays import Verbs

MOST_ARRAYS = 256
MOST_STEPS = 16
"""Largest B and T of golden vectors."""
MOST_BYTES = 2**29
"""Bytes of all arrays together."""
END = b"PK\x05\x06"
"""First bytes of the record that ends a zip; numpy writes no comment after it."""
END_SIZE, COUNT_AT = 22, 10
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

PARTS: Mapping[str, Axes] = {
    "static": TENSORS["static"],
    "dynamic": TENSORS["dynamic"],
    **dict.fromkeys(("x", "a_with_b", "b_with_a"), TENSORS["x"]),
}
"""Axes of the results of verbs."""
SEEDED = "encode(seed)"


def golden_vectors(bundle: Bundle) -> tuple[Arrays, Arrays]:
    """Return inputs and expected results of a bundle's golden vectors.

    Raises:
        BundleFileError: the bundle has none.
        BundleError: they are not such arrays as the manifest's model takes and returns.
    """
    file = bundle.file("golden")
    try:
        arrays = dict(_arrays(file, bundle.manifest))
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{file} holds no golden vectors: {first_line(error)}") from error
    return split_golden(arrays)


def require_complete(verbs: Verbs, inputs: Mapping[str, Array], where: Path) -> None:
    """Raise BundleError unless there is every input that the graphs and verbs of a candidate take."""
    wanted = {name for graph, ports in verbs.backend.ports.items() for name in _inputs(graph, ports.inputs)}
    for verb in verbs.abilities.verbs:
        graphs = VERBS[verb].graphs
        wanted |= {"x"} if "encoder" in graphs else {"dynamic"}
        wanted |= {"static", "dynamic"} if verb == "decode" else {"other"} if verb == "swap" else set()
    if "state" not in inputs:  # golden vectors made before there were streams
        wanted -= {"state", "element_features"}
    if missing := wanted - set(inputs):
        raise BundleError(f"{where} lacks the inputs {', '.join(sorted(missing))}; export the bundle again")


def require_same(found: Iterable[str], expected: Iterable[str], where: Path) -> None:
    """Raise BundleError unless there is an expected result for every result, and no other."""
    differing = sorted(set(found) ^ set(expected))
    if differing or not set(found):
        raise BundleError(
            f"{where} does not hold the results of this bundle's graphs and verbs: {', '.join(differing) or 'none'}; "
            "export the bundle again"
        )


def _inputs(graph: str, names: Iterable[str]) -> list[str]:
    named = {"noise": STATIC_NOISE} if graph == STATIC_PRIOR else RENAMED
    return [named.get(name, name) for name in names]


def _arrays(file: Path, manifest: Manifest) -> Iterable[tuple[str, Array]]:
    _check_end(file)
    with zipfile.ZipFile(file) as archive:
        members, total = archive.infolist(), 0
        if len({member.filename for member in members}) < len(members):
            raise ValueError("two arrays have one name")
        for member in members:
            name = member.filename.removesuffix(".npy")
            total += member.file_size
            if total > MOST_BYTES:
                raise ValueError(f"its arrays have more than {MOST_BYTES:,} bytes")
            if member.compress_type not in KINDS or member.flag_bits & 1:
                raise ValueError(f"{name} is compressed in a way that numpy does not use")
            with archive.open(member) as stream:
                shape, dtype = _header(stream)
                _check_array(name, shape, dtype, member.file_size, manifest)
            with archive.open(member) as stream:
                yield name, np.lib.format.read_array(stream, allow_pickle=False)


def _check_end(file: Path) -> None:
    """Check the number of members before a table of them is read."""
    with file.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - END_SIZE))
        end = stream.read()
    if not end.startswith(END) or int.from_bytes(end[COUNT_AT : COUNT_AT + 2], "little") > MOST_ARRAYS:
        raise ValueError("it is no zip of arrays as numpy writes it")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    read = np.lib.format.read_array_header_1_0
    if np.lib.format.read_magic(stream) != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _check_array(
    name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], stored: int, manifest: Manifest
) -> None:
    """Raise ValueError unless an array is one that the model of a manifest takes or returns."""
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    wanted = _axes(name)
    if wanted is None:
        raise ValueError(f"'{name}' is no input and no result of a model")
    element, sizes = manifest.element, list[int | None]()
    for axis in wanted:
        if axis == "*element":
            sizes += element.shape
        elif isinstance(axis, str) and axis in WIDTHS:
            sizes.append(getattr(manifest.widths, WIDTHS[axis]))
        else:
            sizes.append(axis if isinstance(axis, int) else None)
    fits = len(shape) == len(sizes) and all(
        1 <= size <= MOST_STEPS if want is None else size == want for size, want in zip(shape, sizes, strict=True)
    )
    kind = np.dtype(element.dtype if name in ("in:x", "in:other") else "float32")
    if not fits or dtype != kind or stored < kind.itemsize * int(np.prod(shape, dtype=object)):
        given = f"{shape} {dtype}, of {stored} bytes stored"
        raise ValueError(f"'{name}' is {given}; expected {' x '.join(map(str, wanted))} {kind}")


def _axes(name: str) -> Axes | None:
    """Return the axes of an array of golden vectors; None where there is no such array."""
    side, _, rest = name.partition(":")
    subject, _, part = rest.partition("/")
    if side == "in" and not part:
        special = {"other": TENSORS["x"], STATIC_NOISE: TENSORS["static"]}
        return special.get(subject, TENSORS.get(subject))
    if side == "out" and subject in GRAPHS:
        rule = GRAPHS[subject]
        return axes(subject, part) if part in (*rule.outputs, *rule.optional) else None
    verb = "encode" if subject == SEEDED else subject.removesuffix("()")
    return PARTS.get(part) if side == "out" and verb in VERBS and verb != subject else None
