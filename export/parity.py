"""Parity: whether two ways of computing a model agree, result by result, within stated tolerances."""

import platform
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from sdkit.export.cases import (
    SIZES,
    Scale,
    comparable,
    expected_results,
    graph_inputs,
    run_all,
    split_golden,
)
from sdkit.runtime.bundle import Bundle
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ParityError
from sdkit.runtime.verbs import Verbs


class Tolerance(msgspec.Struct, frozen=True):
    """|a - b| <= atol + rtol |b|."""

    atol: float
    rtol: float


class Row(msgspec.Struct, frozen=True):
    """One result of one case, compared."""

    candidate: str
    """`onnx on cpu` and the like."""
    result: str
    """`graph/output` or `verb()/part`."""
    batch: int
    steps: int
    max_abs: float
    max_rel: float
    """Largest difference over the largest magnitude."""
    atol: float
    rtol: float
    ok: bool


class Line(NamedTuple):
    """Rows of one candidate and result, over all cases."""

    candidate: str
    result: str
    sizes: list[tuple[int, int]]
    max_abs: float
    max_rel: float
    atol: float
    rtol: float
    ok: bool


class Report(msgspec.Struct):
    """parity.json."""

    reference: str
    rows: list[Row] = []
    versions: dict[str, str] = {}

    @property
    def ok(self) -> bool:
        """Whether every result agrees."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def lines(self) -> list[Line]:
        """Return the table: one line a candidate and result, in the order of the first case."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.candidate, row.result), []).append(row)
        return [
            Line(
                *key,
                list(dict.fromkeys((row.batch, row.steps) for row in rows)),
                max(row.max_abs for row in rows),
                max(row.max_rel for row in rows),
                rows[0].atol,
                rows[0].rtol,
                all(row.ok for row in rows),
            )
            for key, rows in groups.items()
        ]

    def summary(self) -> dict[str, Any]:
        """Return the report as plain values."""
        # JSON has no infinity: what could not be compared has no difference.
        lines = [
            {
                key: None if isinstance(value, float) and not np.isfinite(value) else value
                for key, value in items.items()
            }
            for items in (line._asdict() for line in self.lines())
        ]
        return {"ok": self.ok, "reference": self.reference, "results": lines, "versions": self.versions}

    def require(self) -> None:
        """Raise ParityError, naming the worst result, unless every result agrees."""
        if self.ok:
            return
        bad = [row for row in self.rows if not row.ok]
        if not bad:
            raise ParityError(f"nothing was compared against {self.reference}")
        worst = max(bad, key=lambda row: row.max_rel if np.isfinite(row.max_rel) else np.inf)
        raise ParityError(
            f"{len(bad)} of {len(self.rows)} results differ from {self.reference}; the worst: {worst.result} of "
            f"{worst.candidate} at B={worst.batch}, T={worst.steps}, by {worst.max_abs:.3g} "
            f"(allowed {worst.atol:g} + {worst.rtol:g} |value|)"
        )


DECODED = ("x", "x_std", "a_with_b", "b_with_a")
"""Results in data units, by name."""


def read_report(bundle: Bundle) -> Report:
    """Return the report that a bundle was exported with."""
    return msgspec.json.decode(bundle.file("parity").read_bytes(), type=Report)


def tolerance(result: str, element: Element) -> Tolerance:
    """Return the float32 tolerance of a result: of codes absolute, of decoded data relative to their range.

    A verb chains up to four graphs, so its decoded data may differ ten times as much as one decoder's. Decoded series
    and spectra are compared in standard deviations of their features.
    """
    subject, _, name = result.partition("/")
    if subject == "decoder":
        return Tolerance(1e-5 * element.high, 1e-4)
    if name in DECODED:
        return Tolerance(1e-4 * element.high, 1e-4)
    return Tolerance(1e-5, 1e-4)


def compare(
    candidate: str,
    results: Mapping[str, Array],
    expected: Mapping[str, Array],
    element: Element,
    scale: Scale | None = None,
) -> list[Row]:
    """Return one row a result; a missing result, another shape or dtype or NaN counts as infinitely far."""
    batch, steps = expected["encode()/dynamic"].shape[:2]
    rows = []
    for name, want in expected.items():
        allowed, got = tolerance(name, element), results.get(name)
        max_abs, ok = float("inf"), False
        if scale is not None and name.partition("/")[2] in DECODED:
            got, want = None if got is None else got / scale.std, want / scale.std
        if got is not None and got.shape == want.shape and got.dtype == want.dtype and np.isfinite(got - want).all():
            max_abs = float(np.abs(got - want).max())
            ok = bool(np.allclose(got, want, rtol=allowed.rtol, atol=allowed.atol))
        largest = float(np.abs(want).max()) or 1.0
        rows.append(Row(candidate, name, batch, steps, max_abs, max_abs / largest, allowed.atol, allowed.rtol, ok))
    return rows


def against_model(reference: Verbs, candidates: Iterable[Verbs], scale: Scale | None = None) -> list[Row]:
    """Compare candidates with a model over every case, graph and verb."""
    cases = [graph_inputs(reference, *size, scale) for size in SIZES]
    rows = []
    expected = [expected_results(reference, inputs) for inputs in cases]
    for candidate in candidates:
        for inputs, want in zip(cases, expected, strict=True):
            found = run_all(candidate, inputs)
            rows += compare(label(candidate), found, comparable(want, candidate), reference.element, scale)
    return rows


def against_golden(arrays: Mapping[str, Array], candidates: Iterable[Verbs], scale: Scale | None = None) -> list[Row]:
    """Compare candidates with the golden vectors of their bundle."""
    inputs, expected = split_golden(arrays)
    rows = []
    for candidate in candidates:
        found = run_all(candidate, inputs)
        rows += compare(label(candidate), found, comparable(expected, candidate), candidate.element, scale)
    return rows


def label(verbs: Verbs) -> str:
    """Return text such as `onnx on cpu`."""
    return f"{verbs.backend.name} on {verbs.device}"


def versions() -> dict[str, str]:
    """Return the versions that a report depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("sdkit", "numpy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
