"""Mutations of files: what is done to a copy of a sound one, chosen by a random generator."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from tests.hosts.bad import sealed

Random = np.random.Generator
SECRET = b"SECRET-OF-ANOTHER-FILE!!" * 4096
"""What lies in a file that no command was given."""
ESCAPE = "\x1b[31mred\x1b[0m\x07\x00\u202e"
"""Text that would steer a terminal."""
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, -(2**70), 10**400, 1.5, float("nan"), float("inf"), 1e300, ""),
    *("x" * 100_000, ESCAPE, "../../etc/passwd", "\ud800", [], {}, [[]], ["a"] * 50_000, {"a": {"b": {}}}),
)
"""Values that nobody expects."""
DEEP = 100_000
"""Depth of nested lists."""


class Mutation(NamedTuple):
    """What was done to an input."""

    what: str
    refused: bool = False
    """Whether every command must refuse the result; otherwise it may be as good as before."""


Mutate = Callable[[Path, Random], Mutation]


def mutate(path: Path, rng: Random) -> Mutation:
    """Mutate an input, a file or a folder, in place."""
    if path.is_dir():
        return _mutate_folder(path, rng)
    return _pick(rng, _choices(path))(path, rng)


def _choices(path: Path) -> tuple[Mutate, ...]:
    if path.suffix == ".h5":
        return (*BYTES, *HDF5, *HDF5, *HDF5)
    if path.suffix == ".json":
        return (*BYTES[:2], *JSON)
    if path.suffix in (".npz", ".npy"):
        return (*BYTES, *NUMPY)
    return (*BYTES, *TEXT) if path.suffix in (".csv", ".jsonl") else BYTES


def _mutate_folder(folder: Path, rng: Random) -> Mutation:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    manifest = folder / "manifest.json"
    if manifest.is_file() and rng.random() < 0.7:
        return _pick(rng, BUNDLE)(folder, rng)
    if rng.random() < 0.15:
        return _pick(rng, (_remove, _link_out, _empty_folder))(files[rng.integers(len(files))], rng)
    chosen = files[rng.integers(len(files))]
    done = mutate(chosen, rng)
    return done._replace(what=f"{chosen.name}: {done.what}")


def _pick(rng: Random, choices: tuple[Mutate, ...]) -> Mutate:
    return choices[rng.integers(len(choices))]


# Bytes of any file.


def _flip(path: Path, rng: Random) -> Mutation:
    content = bytearray(path.read_bytes())
    places = rng.integers(0, max(1, len(content)), int(rng.integers(1, 9)))
    for place in places[: len(content)]:
        content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return Mutation(f"bytes {sorted(places.tolist())} changed")


def _cut(path: Path, rng: Random) -> Mutation:
    size = path.stat().st_size
    keep = int(size * rng.random())
    os.truncate(path, keep)
    return Mutation(f"cut to {keep} of {size} bytes")


def _zero(path: Path, rng: Random) -> Mutation:
    content = bytearray(path.read_bytes())
    start = int(rng.integers(0, max(1, len(content))))
    count = min(int(rng.integers(1, 4096)), len(content) - start)
    content[start : start + count] = bytes(count)
    path.write_bytes(content)
    return Mutation(f"{count} bytes at {start} zeroed")


def _insert(path: Path, rng: Random) -> Mutation:
    content = path.read_bytes()
    start = int(rng.integers(0, len(content) + 1))
    more = rng.bytes(int(rng.integers(1, 64)))
    path.write_bytes(content[:start] + more + content[start:])
    return Mutation(f"{len(more)} bytes inserted at {start}")


def _number(path: Path, rng: Random) -> Mutation:
    """Overwrite a place with a great or negative number, as sizes of formats are stored."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(0, max(1, len(content) - 8)))
    form, value = [("<I", 0x7FFFFFFF), ("<I", 0xFFFFFFFF), ("<Q", 1 << 40), ("<q", -1), (">I", 0x7FFFFFFF)][
        rng.integers(5)
    ]
    raw = struct.pack(form, value)
    content[place : place + len(raw)] = raw
    path.write_bytes(content)
    return Mutation(f"{value} as {form} at {place}")


BYTES: tuple[Mutate, ...] = (_flip, _cut, _zero, _insert, _number)


# Files of folders.


def _remove(path: Path, rng: Random) -> Mutation:
    path.unlink()
    return Mutation(f"{path.name} removed")


def _link_out(path: Path, rng: Random) -> Mutation:
    secret = _secret(path)
    path.unlink()
    path.symlink_to(secret if rng.random() < 0.5 else path.name)
    return Mutation(f"{path.name} made a link to {path.readlink()}")


def _empty_folder(path: Path, rng: Random) -> Mutation:
    path.unlink()
    path.mkdir()
    return Mutation(f"{path.name} made a folder")


def _secret(near: Path) -> Path:
    """Return the path of a file that no command is given."""
    secret = near.absolute().parents[0] / ".secret.bin"
    secret.write_bytes(SECRET)
    return secret


# JSON, and text.


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        found += _places(part, (*path, key))
    return found


def change_json(value: Any, rng: Random) -> str:
    """Change one place of a parsed JSON document, and return what was done."""
    places = _places(value)
    place = places[rng.integers(len(places))]
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    kind = rng.random()
    name = ".".join(map(str, place))
    if kind < 0.15:
        del holder[place[-1]]
        return f"{name} removed"
    if kind < 0.25 and isinstance(holder, dict):
        key = str(ODD[rng.integers(len(ODD))])[:50]
        holder[key] = holder[place[-1]]
        return f"{name} repeated as {key!r}"
    odd = ODD[rng.integers(len(ODD))]
    holder[place[-1]] = odd
    return f"{name} = {str(odd)[:40]!r}"


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _json_value(path: Path, rng: Random) -> Mutation:
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        return _flip(path, rng)
    done = change_json(value, rng)
    path.write_bytes(_dump(value))
    return Mutation(done)


def _json_deep(path: Path, rng: Random) -> Mutation:
    path.write_bytes(b"[" * DEEP + b"]" * DEEP if rng.random() < 0.5 else b'{"a":' * DEEP + b"1" + b"}" * DEEP)
    return Mutation("nested deeply", refused=True)


def _json_other(path: Path, rng: Random) -> Mutation:
    texts = (b"", b"null", b"[]", b"1e999", b"\xff\xfe{", b'{"a":1,"a":2}', b"9" * 5000, b"{" + b'"' * 99)
    path.write_bytes(texts[rng.integers(len(texts))])
    return Mutation("other text")


JSON: tuple[Mutate, ...] = (_json_value, _json_value, _json_value, _json_deep, _json_other)


def _text_field(path: Path, rng: Random) -> Mutation:
    lines = path.read_bytes().split(b"\n")
    row = int(rng.integers(len(lines)))
    fields = lines[row].split(b",")
    odd = (b"", b"nan", b"inf", b"1e999", b"9" * 5000, ESCAPE.encode(), b'"', b"-", b"\xff\xfe", b"0x10", b"1,2")
    fields[rng.integers(len(fields))] = odd[rng.integers(len(odd))]
    lines[row] = b",".join(fields)
    path.write_bytes(b"\n".join(lines))
    return Mutation(f"field of row {row}")


def _text_rows(path: Path, rng: Random) -> Mutation:
    lines = path.read_bytes().split(b"\n")
    row = int(rng.integers(len(lines)))
    if rng.random() < 0.5:
        del lines[row]
    else:
        lines.insert(row, lines[rng.integers(len(lines))])
    path.write_bytes(b"\n".join(lines))
    return Mutation(f"row {row} removed or repeated")


TEXT: tuple[Mutate, ...] = (_text_field, _text_rows)


# npz and npy.


def _object_array(path: Path, rng: Random) -> Mutation:
    value = np.array([{"a": 1}, None], dtype=object)
    if path.suffix == ".npy":
        np.save(path, value, allow_pickle=True)
    else:
        np.savez(path, data=value)
    return Mutation("objects", refused=True)


def _odd_array(path: Path, rng: Random) -> Mutation:
    arrays: tuple[Any, ...] = (
        *(
            np.zeros(0),
            np.float64(1),
            np.zeros((3, 1, 2, 2)),
            np.full((3, 4, 2, 2), np.nan),
            np.full((3, 4, 2, 2), 1e300),
        ),
        *(
            np.zeros((3, 4, 2), "S3"),
            np.zeros((3, 4, 2), "U3"),
            np.zeros((3, 4), "M8[s]"),
            np.zeros((2, 3), [("a", "i4")]),
        ),
        *(np.zeros((3, 4, 2, 2), np.complex64), np.zeros((1, 2) * 16), np.zeros((0, 4, 2, 2)), np.zeros((3, 4, 0, 2))),
    )
    value = arrays[rng.integers(len(arrays))]
    if path.suffix == ".npy":
        np.save(path, value)
    else:
        with np.load(path) as file:
            known = dict(file)
        known[list(known)[rng.integers(len(known))]] = value
        np.savez(path, **known)
    return Mutation(f"array of {value.dtype} {value.shape}")


def _huge_header(path: Path, rng: Random) -> Mutation:
    shape = "(1099511627776, 4, 3, 2)" if rng.random() < 0.5 else "(" + "9" * 4301 + ",)"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(8182) + b"\n"
    raw = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + bytes(64)
    if path.suffix == ".npy":
        path.write_bytes(raw)
    else:
        import zipfile

        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("data.npy", raw)
    return Mutation("a header of a huge array", refused=True)


NUMPY: tuple[Mutate, ...] = (_object_array, _odd_array, _odd_array, _huge_header)


# HDF5.


def _hdf5(change: Callable[[h5py.File, Path, Random], Mutation]) -> Mutate:
    def run(path: Path, rng: Random) -> Mutation:
        with h5py.File(path, "r+") as file:
            return change(file, path, rng)

    return run


def _any(file: h5py.File, rng: Random) -> str:
    names = sorted(file)
    return str(names[rng.integers(len(names))])


def _leave(file: h5py.File, path: Path, rng: Random) -> Mutation:
    """Replace a data set by one whose bytes lie elsewhere."""
    name = _any(file, rng)
    old = file[name]
    shape, dtype, secret = old.shape, old.dtype, _secret(path)
    other = path.with_name(".secret.h5")
    with h5py.File(other, "w") as foreign:
        foreign[name] = np.resize(np.frombuffer(SECRET, np.uint8), shape).astype(dtype)
        foreign.create_group("more")[name] = foreign[name][()]
    del file[name]
    kind = int(rng.integers(5))
    if kind == 0:
        file[name] = h5py.ExternalLink(other.name, f"/{name}")
    elif kind == 1:
        file["away"] = h5py.ExternalLink(other.name, "/more")
        file[name] = h5py.SoftLink(f"/away/{name}")
    elif kind == 2:
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        file.create_dataset(name, shape, dtype, external=[(str(secret), 0, size)])
    else:
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(other.name if kind == 3 else ".", name, shape)
        file.create_virtual_dataset(name, layout)
    kinds = ("an external link", "a link through one", "external storage", "virtual", "virtual on itself")
    # Names that no command reads may be anything.
    return Mutation(f"{name} made {kinds[kind]}", refused=name in ("data", "static", "static_a_dynamic_b"))


def _relink(file: h5py.File, path: Path, rng: Random) -> Mutation:
    name = _any(file, rng)
    kind = int(rng.integers(4))
    del file[name]
    if kind == 0:
        file.create_group(name)
    else:
        file[name] = h5py.SoftLink(("/nowhere", f"/{name}", "/")[kind - 1])
    return Mutation(f"{name} made {('a group', 'a dangling link', 'a link to itself', 'a link to the root')[kind]}")


def _reshape(file: h5py.File, path: Path, rng: Random) -> Mutation:
    name = _any(file, rng)
    values = file[name][()]
    forms: tuple[Any, ...] = (
        (
            *(values[:0], values[None], values[..., None], values.ravel(), np.float32(1), values[:-1], values[:, :1]),
            *(np.concatenate([values, values]), np.zeros((0,) * values.ndim, values.dtype), h5py.Empty("f4")),
        )
        if values.ndim > 1
        else (values[:0], values[None], values[:-1], np.concatenate([values, values]), h5py.Empty("f4"))
    )
    chosen = forms[rng.integers(len(forms))]
    del file[name]
    file[name] = chosen
    return Mutation(f"{name} of shape {getattr(chosen, 'shape', None)}")


def _retype(file: h5py.File, path: Path, rng: Random) -> Mutation:
    name = _any(file, rng)
    values = file[name][()]
    types: tuple[Any, ...] = (
        "f8",
        "f2",
        "i1",
        "u8",
        "c8",
        "S4",
        h5py.string_dtype(),
        [("a", "i4"), ("b", "f4")],
        bool,
        ">f4",
    )
    chosen = types[rng.integers(len(types))]
    del file[name]
    if isinstance(chosen, list):
        file[name] = np.zeros(values.shape, chosen)
    elif chosen in ("S4",) or h5py.check_string_dtype(np.dtype(chosen)):
        file.create_dataset(name, values.shape, chosen, fillvalue=b"a")
    else:
        with np.errstate(all="ignore"):
            file[name] = values.astype(chosen)
    return Mutation(f"{name} as {chosen}")


def _declare(file: h5py.File, path: Path, rng: Random) -> Mutation:
    """Declare much more than is stored."""
    name = _any(file, rng)
    old = file[name]
    shape, dtype = list(old.shape), old.dtype
    del file[name]
    axis = int(rng.integers(len(shape)))
    shape[axis] = int([2**31, 2**40, 10**7][rng.integers(3)])
    chunks = tuple(min(8, n) for n in shape)
    options: dict[str, Any] = {"chunks": chunks, "compression": "gzip"} if rng.random() < 0.7 else {}
    file.create_dataset(name, tuple(shape), dtype, **options)
    return Mutation(f"{name} declared as {tuple(shape)}")


def _bomb(file: h5py.File, path: Path, rng: Random) -> Mutation:
    """Declare one chunk of gigabytes, which zeros fill."""
    name = _any(file, rng)
    old = file[name]
    shape, dtype = (1 << 20, *old.shape[1:]), old.dtype
    del file[name]
    rows = max(1, (1 << 31) // max(1, int(np.prod(shape[1:])) * dtype.itemsize))
    data = file.create_dataset(name, shape, dtype, chunks=(min(rows, shape[0]), *shape[1:]), compression="gzip")
    data.id.write_direct_chunk((0,) * len(shape), b"x\x9c" + bytes(64))
    return Mutation(f"{name} with a chunk of {data.chunks}", refused=name in ("data", "static"))


def _bad_chunk(file: h5py.File, path: Path, rng: Random) -> Mutation:
    """Store a chunk that inflates to fewer or more bytes than it should, or does not inflate."""
    import zlib

    chunked = [name for name in sorted(file) if isinstance(file[name], h5py.Dataset) and file[name].chunks]
    if not chunked:
        return _retype(file, path, rng)
    name = chunked[rng.integers(len(chunked))]
    data = file[name]
    size = int(np.prod(data.chunks)) * data.dtype.itemsize
    raws = (
        zlib.compress(bytes(size // 2)),
        zlib.compress(bytes(2 * size)),
        b"x\x9cgarbage",
        b"x",
        zlib.compress(bytes(size))[:-3],
    )
    kind = int(rng.integers(len(raws)))
    data.id.write_direct_chunk((0,) * data.ndim, raws[kind])
    return Mutation(f"{name} with a chunk that inflates {('short', 'long', 'not', 'to nothing', 'half')[kind]}")


def _attribute(file: h5py.File, path: Path, rng: Random) -> Mutation:
    names = sorted(file.attrs)
    name = str(names[rng.integers(len(names))])
    odd: tuple[Any, ...] = (
        *(-1, 2**62, float("nan"), float("inf"), "", ESCAPE, "x" * 60_000, b"\xff\xfe", "[" * DEEP, "null", "{}", "[]"),
        *(
            "[1, 2]",
            '{"a": 1}',
            np.zeros(5),
            np.array([b"a", b"b"]),
            h5py.Empty("f4"),
            "1e999",
            '{"a": {"index": 1e400}}',
        ),
    )
    chosen = odd[rng.integers(len(odd))]
    del file.attrs[name]
    if isinstance(chosen, str) and len(chosen) > 60_000:
        chosen = chosen[:60_000]
    try:
        file.attrs[name] = chosen.replace("\x00", "") if isinstance(chosen, str) else chosen
    except (ValueError, TypeError):
        file.attrs[name] = "odd"
    return Mutation(f"attribute {name} = {str(chosen)[:40]!r}")


def _classes(file: h5py.File, path: Path, rng: Random) -> Mutation:
    classes = json.loads(file.attrs.get("classes", "{}"))
    if not classes:
        return _attribute(file, path, rng)
    if rng.random() < 0.3:
        next(iter(classes.values()))["n_classes"] = 10**12
        done = "n_classes of 10^12"
    else:
        done = change_json(classes, rng)
    text = json.dumps(classes)
    file.attrs["classes"] = text[:60_000]
    return Mutation(f"classes: {done}")


def _values(file: h5py.File, path: Path, rng: Random) -> Mutation:
    name = _any(file, rng)
    values = np.array(file[name][()])
    whole = values.dtype.kind in "iu"
    odd = [-1, 2**62, 10**6, 0][rng.integers(4)] if whole else [np.nan, np.inf, -np.inf, 3e38, 1e300][rng.integers(5)]
    wide = np.float64 if not whole else np.int64
    if values.dtype != np.uint8:
        values = values.astype(wide)
    if values.dtype == np.uint8:
        odd = 255
    values.ravel()[rng.integers(0, values.size, 3)] = odd
    del file[name]
    if not whole and values.dtype != np.uint8:
        with np.errstate(over="ignore"):
            values = values if rng.random() < 0.3 else values.astype(np.float32)
    file[name] = values
    return Mutation(f"{name} with values {odd}")


def _names(file: h5py.File, path: Path, rng: Random) -> Mutation:
    raw = (b"\xff\xfe\x80", b"\x1b[31m", b"a" * 5000)[rng.integers(3)]
    name = _any_sound(file, rng)
    h5py.h5g.create(file.id, raw)
    if rng.random() < 0.5:
        file.id.links.move(name.encode(), file.id, raw + b"2")
        return Mutation(f"{name} renamed to bytes that are no text")
    return Mutation("a group whose name is no text")


def _any_sound(file: h5py.File, rng: Random) -> str:
    names = sorted(name for name in ("data", "labels", "static", "dynamic", "lengths") if name in file)
    return names[rng.integers(len(names))] if names else _any(file, rng)


HDF5: tuple[Mutate, ...] = tuple(
    _hdf5(change)
    for change in (
        *(_leave, _relink, _reshape, _retype, _declare, _bomb, _bad_chunk, _attribute, _classes, _values, _names),
    )
)


# Bundles, signed anew.


def _seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest whose digests fit the files that there are."""
    import hashlib

    def fit(value: Any) -> None:
        if isinstance(value, dict) and {"path", "sha256"} <= set(value):
            file = folder / str(value["path"])
            if isinstance(value["path"], str) and len(value["path"]) < 200 and file.is_file():
                value["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
                if "size" in value:
                    value["size"] = file.stat().st_size
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            fit(part)

    fit(manifest)
    (folder / "manifest.json").write_bytes(sealed(manifest).encode("utf-8", "surrogatepass"))


def _signed_manifest(folder: Path, rng: Random) -> Mutation:
    manifest = json.loads((folder / "manifest.json").read_text())
    done = change_json(manifest, rng)
    (folder / "manifest.json").write_bytes(sealed(manifest).encode("utf-8", "surrogatepass"))
    return Mutation(f"signed, {done}")


def _signed_file(folder: Path, rng: Random) -> Mutation:
    manifest = json.loads((folder / "manifest.json").read_text())
    files = sorted(file for file in folder.iterdir() if file.suffix in (".onnx", ".npz"))
    chosen = files[rng.integers(len(files))]
    done = _pick(rng, BYTES if chosen.suffix == ".onnx" else (*BYTES, *NUMPY))(chosen, rng)
    _seal(folder, manifest)
    return Mutation(f"signed, {chosen.name}: {done.what}")


def _unsigned_file(folder: Path, rng: Random) -> Mutation:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".onnx", ".npz", ".md"))
    chosen = files[rng.integers(len(files))]
    before = chosen.read_bytes()
    done = _pick(rng, BYTES)(chosen, rng)
    changed = chosen.read_bytes() != before
    return Mutation(f"unsigned, {chosen.name}: {done.what}", refused=changed and chosen.suffix == ".onnx")


def _signed_graph(folder: Path, rng: Random) -> Mutation:
    """Change an ONNX graph as a program would, and sign it."""
    import onnx
    from onnx import numpy_helper

    manifest = json.loads((folder / "manifest.json").read_text())
    files = sorted(folder.glob("*.onnx"))
    chosen = files[rng.integers(len(files))]
    proto = onnx.load(str(chosen))
    weights = [w for w in proto.graph.initializer if w.data_type == onnx.TensorProto.FLOAT]
    kind, refused = int(rng.integers(5)), True
    if kind == 0 and weights:
        weight = weights[rng.integers(len(weights))]
        weight.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(weight), np.nan), weight.name))
        done, refused = "NaN weights", False
    elif kind == 1 and weights:
        weight = weights[rng.integers(len(weights))]
        size = len(numpy_helper.to_array(weight).tobytes())
        _secret(chosen)
        onnx.external_data_helper.set_external_data(weight, location=".secret.bin", offset=0, length=size)
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        done = "external weights"
    elif kind == 2:
        output = proto.graph.output[rng.integers(len(proto.graph.output))]
        output.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        done = f"output {output.name} declared as double"
    elif kind == 3:
        value = proto.graph.input[rng.integers(len(proto.graph.input))]
        value.name += "_other"
        done = f"input renamed to {value.name}"
    else:
        name = proto.graph.output[0].name
        value = proto.graph.output.add()
        value.CopyFrom(proto.graph.output[0])
        done = f"output {name} twice"
    chosen.write_bytes(proto.SerializeToString())
    _seal(folder, manifest)
    return Mutation(f"signed, {chosen.name}: {done}", refused=refused and kind == 1)


BUNDLE: tuple[Mutate, ...] = (_signed_manifest, _signed_manifest, _signed_file, _unsigned_file, _signed_graph)
