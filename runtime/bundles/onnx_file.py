"""Reads as much of an ONNX file as says whether it is whole and sound; no library for ONNX is needed for that.

A tensor of an ONNX file may say that its values lie in another file (`data_location = EXTERNAL`), which ONNX Runtime
then reads: by any path in some versions, from beside the graph in others, and covered by no digest in all of them. No
graph of sdkit has such tensors. Nor has any a weight that is NaN or infinite, which some operators of ONNX Runtime turn
into results that look like any other: its LSTM bounds what it passes on. So the bytes of every graph are walked before
ONNX Runtime sees them.

The walk follows protobuf's encoding through every message in which ONNX can hold a tensor, and refuses what protobuf
would refuse or ONNX does not use, so that no two readers see different things in one file.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from sdkit.runtime.errors import BundleError

INSIDE: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
        "function": {7: "node", 11: "attribute"},
        "training": {1: "graph", 2: "graph"},
        "tensor": {},
    }
)
"""Messages in which tensors can be, by message and field (onnx.proto)."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
DATA_TYPE, FLOAT_DATA, INT32_DATA, NAME, RAW_DATA, DOUBLE_DATA = 2, 4, 5, 8, 9, 10
"""Fields of a tensor."""
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
"""Wire types; the others are groups, which ONNX never used."""
SIZES = {EIGHT: 8, FOUR: 4}
DEEPEST = 100
"""Depth of messages, the limit of protobuf's own readers."""


class _Floats(NamedTuple):
    """Layout of a float, as bits: a value whose exponent is all ones is NaN or infinite."""

    bits: str
    exponent: int


FLOATS = {
    1: _Floats("<u4", 0x7F800000),  # float32
    10: _Floats("<u2", 0x7C00),  # float16
    11: _Floats("<u8", 0x7FF << 52),  # float64
    16: _Floats("<u2", 0x7F80),  # bfloat16
}
"""Types of floats by their number in ONNX."""


class _BrokenError(Exception):
    """Bytes that are no protobuf message."""


def check_onnx(data: bytes, where: str) -> None:
    """Check that an ONNX file holds all of its tensors itself, and that their values are finite.

    A single value may be infinite: it is a bound, and no weight.

    Args:
        data: its bytes.
        where: its name in messages.

    Raises:
        BundleError: it is not protobuf, or a tensor's values lie in another file or are not finite.
    """
    waiting = [("model", 0, len(data), 0)]
    try:
        while waiting:
            message, start, end, depth = waiting.pop()
            if depth > DEEPEST:
                raise _BrokenError
            if message == "tensor":
                _check_tensor(data, start, end, where)
                continue
            inside = INSIDE[message]
            for field, wire, value, after in _fields(data, start, end):
                if wire == BYTES and field in inside:
                    waiting.append((inside[field], value, after, depth + 1))
    except (_BrokenError, IndexError) as error:
        raise BundleError(f"{where} is not an ONNX graph; export or copy the bundle again") from error


def _check_tensor(data: bytes, start: int, end: int, where: str) -> None:
    kind, name, parts, numbers = 0, b"", list[tuple[int, int]](), list[int]()
    for field, wire, value, after in _fields(data, start, end):
        if field == EXTERNAL_DATA or (field == DATA_LOCATION and value):
            raise BundleError(
                f"{where} takes weights from another file (external data), which no digest covers; do not use "
                "this bundle"
            )
        if field == DATA_TYPE and wire == VARINT:
            kind = value
        elif field == NAME and wire == BYTES:
            name = data[value:after]
        elif field in (RAW_DATA, FLOAT_DATA, DOUBLE_DATA) and wire in (BYTES, FOUR, EIGHT):
            parts.append((value, after))
        elif field == INT32_DATA:  # floats of 16 bits, as some writers store them
            numbers += [value] if wire == VARINT else _varints(data, value, after)
    if kind in FLOATS and not _finite(data, FLOATS[kind], parts, numbers):
        raise BundleError(
            f"{where} has weights that are not finite (NaN or infinite), in '{name.decode(errors='replace')}'; do not "
            "use this bundle"
        )


def _finite(data: bytes, layout: _Floats, parts: list[tuple[int, int]], numbers: list[int]) -> bool:
    """Return whether values that lie in parts of a file, or were stored as numbers, are finite."""
    kind = np.dtype(layout.bits)
    values = [np.frombuffer(data, kind, (after - at) // kind.itemsize, at) for at, after in parts if after > at]
    if numbers:
        values.append(np.array([number & 0xFFFF for number in numbers], kind))
    exponent = kind.type(layout.exponent)
    return sum(map(len, values)) < 2 or not any(bool(((part & exponent) == exponent).any()) for part in values)


def _varints(data: bytes, at: int, end: int) -> list[int]:
    found = []
    while at < end:
        value, at = _varint(data, at)
        found.append(value)
    return found


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, value and end of every field; the value of bytes is the place where they start."""
    at = start
    while at < end:
        key, at = (data[at], at + 1) if data[at] < 128 else _varint(data, at)
        wire = key & 7
        if wire == BYTES:
            size, at = (data[at], at + 1) if data[at] < 128 else _varint(data, at)
            value, at = at, at + size
        elif wire == VARINT:
            value, at = (data[at], at + 1) if data[at] < 128 else _varint(data, at)
        elif wire in SIZES:
            value, at = at, at + SIZES[wire]
        else:
            raise _BrokenError
        if at > end or key < 8:
            raise _BrokenError
        yield key >> 3, wire, value, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to ten bytes, seven bits in each, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
    raise _BrokenError
