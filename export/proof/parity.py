"""Parity: whether two ways of computing a model agree, result by result, within stated tolerances."""

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from sdkit.export.proof.cases import (
    SIZES,
    Arrays,
    Scale,
    comparable,
    expected_results,
    graph_inputs,
    run_all,
    within,
)
from sdkit.export.proof.vectors import require_complete, require_same
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.specs import Precision
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import BundleError, ParityError, first_line
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.verbs.arrays import Verbs


class Tolerance(msgspec.Struct, frozen=True):
    """|a - b| <= atol + rtol |b| for every value; where `rms` is set, rms(a - b) <= rms * rms(b) instead."""

    atol: float
    rtol: float
    rms: float = 0.0

    def __str__(self) -> str:
        return f"rms {100 * self.rms:g} %" if self.rms else f"{self.atol:.3g} + {self.rtol:g}|x|"


class Row(msgspec.Struct, frozen=True):
    """One result of one case, compared with the reference."""

    candidate: str
    """Label of the candidate, such as `onnx on cpu`."""
    result: str
    """Name of the result: `graph/output` or `verb()/part`."""
    batch: int
    steps: int
    max_abs: float
    max_rel: float
    """Largest difference divided by the largest magnitude."""
    atol: float
    rtol: float
    ok: bool
    rms_rel: float = 0.0
    """Relative error rms(a - b) / rms(b)."""
    rms: float = 0.0
    """Allowed `rms_rel`, for results of graphs of a lower precision than float32; 0 where each value must meet atol
    and rtol."""


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
    rms_rel: float
    rms: float

    @property
    def allowed(self) -> str:
        """Tolerance as text."""
        return str(Tolerance(self.atol, self.rtol, self.rms))


class ErrorLine(msgspec.Struct, frozen=True):
    """Error of a result of lower-precision graphs against the float32 model, on real sequences."""

    result: str
    mean_rel: float
    """Error mean |a - b| / mean |b|."""
    rms_rel: float
    """Error rms(a - b) / rms(b)."""
    max_rel: float
    """Error max |a - b| / max |b|."""


class Errors(msgspec.Struct, frozen=True):
    """Errors of a lower precision, measured on sequences that the model was neither trained nor calibrated on."""

    data: str
    """Name of the data set; the sequences are of its validation split."""
    sequences: int
    calibrated_on: int
    """Number of sequences of the training split used for calibration; 0 where nothing is calibrated."""
    lines: list[ErrorLine]


class Metric(msgspec.Struct, frozen=True):
    """A figure of the evaluation, for this bundle and for the model that it was made from."""

    value: float
    reference: float
    """Figure of the float32 model."""


class Report(msgspec.Struct):
    """Contents of parity.json."""

    reference: str
    rows: list[Row] = []
    versions: dict[str, str] = {}
    precision: Precision = "float32"
    errors: Errors | None = None
    """Errors of graphs of a lower precision than float32."""
    metrics: dict[str, Metric] = {}
    """Figures of an evaluation, by name, where one was requested."""

    @property
    def ok(self) -> bool:
        """Whether all results agree."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def lines(self) -> list[Line]:
        """Return the table: one line for each candidate and result, in the order of the first case."""
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
                max(row.rms_rel for row in rows),
                rows[0].rms,
            )
            for key, rows in groups.items()
        ]

    def summary(self) -> dict[str, Any]:
        """Return the report as plain values."""
        # JSON has no infinity: a result that could not be compared has no difference.
        lines = [
            {
                key: None if isinstance(value, float) and not np.isfinite(value) else value
                for key, value in items.items()
            }
            for items in (line._asdict() for line in self.lines())
        ]
        found = {"ok": self.ok, "reference": self.reference, "results": lines, "versions": self.versions}
        if self.precision == "float32":
            return found
        about = {"errors": self.errors, "metrics": self.metrics}
        return {**found, "precision": self.precision, **msgspec.to_builtins(about)}

    def require(self) -> None:
        """Raise ParityError, naming the worst result, unless every result agrees."""
        if self.ok:
            return
        bad = [row for row in self.rows if not row.ok]
        if not bad:
            raise ParityError(f"nothing was compared against {self.reference}")
        worst = max(bad, key=lambda row: row.max_rel if np.isfinite(row.max_rel) else np.inf)
        by = f"{worst.max_abs:.3g} (allowed {worst.atol:g} + {worst.rtol:g} |value|)"
        if worst.rms:
            by = f"{100 * worst.rms_rel:.3g} % in root mean square (allowed {100 * worst.rms:g} %)"
        raise ParityError(
            f"{len(bad)} of {len(self.rows)} results differ from {self.reference}; the worst: {worst.result} of "
            f"{worst.candidate} at B={worst.batch}, T={worst.steps}, by {by}"
        )


SIZED = ("encode()/dynamic", "generate()/x", "decode()/x")
"""Results whose shapes show B and T of a case."""
DECODED = ("x", "x_std", "a_with_b", "b_with_a")
"""Names of results in data units."""


def read_report(bundle: Bundle) -> Report:
    """Return the report that a bundle was exported with.

    Raises:
        BundleFileError: the bundle has none.
        BundleError: the file is no report.
    """
    file = bundle.file("parity")
    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except (msgspec.MsgspecError, ValueError, RecursionError, OSError) as error:
        raise BundleError(f"{file} is not the report of a parity test: {first_line(error)}") from error


RMS: dict[Precision, float] = {"float32": 0.0, "float16": 0.01, "int8": 0.15}
"""Allowed relative root mean square error of a result. It separates a coarser graph from a wrong one; how
coarse it is, and what that costs, is measured and reported."""


def tolerance(result: str, element: Element, precision: Precision = "float32") -> Tolerance:
    """Return the tolerance of a result: absolute for codes, relative to the range for decoded data.

    A verb chains up to four graphs, so its decoded data may differ ten times as much as those of the decoder alone.
    Decoded features are compared in standard deviations, pixels in their range. Results in which a graph of a lower
    precision takes part must meet a root mean square error instead.
    """
    allowed = _float32_tolerance(result, element)
    return msgspec.structs.replace(allowed, rms=RMS[precision])


def _float32_tolerance(result: str, element: Element) -> Tolerance:
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
    precisions: Mapping[str, Precision] | None = None,
) -> list[Row]:
    """Return one row for each result; a missing result, another shape or dtype or NaN counts as an infinite difference.

    Args:
        candidate: label of what is compared.
        results: results of the candidate.
        expected: expected results.
        element: element of the data.
        scale: scale of its features.
        precisions: precisions of the candidate's graphs that are not float32.
    """
    batch, steps = next(expected[name].shape[:2] for name in SIZED if name in expected)
    rows = []
    for name, want in expected.items():
        allowed, got = tolerance(name, element, _precision(name, precisions or {})), results.get(name)
        max_abs, rms_rel, ok = float("inf"), float("inf"), False
        if scale is not None and name.partition("/")[2] in DECODED:
            got, want = None if got is None else got / scale.std, want / scale.std
        if got is not None and got.shape == want.shape and got.dtype == want.dtype and np.isfinite(got - want).all():
            max_abs, rms_rel = float(np.abs(got - want).max()), _rms(got - want) / (_rms(want) or 1.0)
            close = bool(np.allclose(got, want, rtol=allowed.rtol, atol=allowed.atol))
            ok = close or rms_rel <= allowed.rms
        largest = float(np.abs(want).max()) or 1.0
        rows.append(
            Row(
                candidate,
                name,
                batch,
                steps,
                max_abs,
                max_abs / largest,
                allowed.atol,
                allowed.rtol,
                ok,
                rms_rel,
                allowed.rms,
            )
        )
    return rows


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _precision(result: str, precisions: Mapping[str, Precision]) -> Precision:
    """Return the precision of a result: for a graph its own, for a verb the lowest of all graphs."""
    subject = result.partition("/")[0]
    found = set(precisions.values()) if subject.endswith(")") else {precisions.get(subject, "float32")}
    return "int8" if "int8" in found else "float16" if "float16" in found else "float32"


def precisions_of(verbs: Verbs) -> dict[str, Precision]:
    """Return the precision of each graph of a candidate; none for a training model, whose graphs are all float32."""
    if not isinstance(verbs, Runtime):
        return {}
    return {name: verbs.manifest.precision_of(name, verbs.backend.name) for name in verbs.manifest.graphs}  # type: ignore[arg-type]


def measure_errors(
    reference: Verbs, candidate: Verbs, x: Array, scale: Scale | None = None, *, data: str = "", calibrated_on: int = 0
) -> Errors:
    """Return the errors of codes and decoded data against a float32 model's.

    Args:
        reference: the float32 model.
        candidate: graphs of a lower precision.
        x: (N, T, *element), in data units.
        scale: scale of the features, if there are any: decoded data are then compared in standard deviations.
        data: name of the data set.
        calibrated_on: number of other sequences on which the graphs were calibrated.
    """
    found, wanted = (_results(verbs, x, reference.encode(x)) for verbs in (candidate, reference))
    lines = []
    for name, want in wanted.items():
        got = found[name]
        if scale is not None and name.partition("/")[2] in DECODED:
            got, want = (got - scale.mean) / scale.std, (want - scale.mean) / scale.std
        far = np.abs(got - want)
        largest, mean = float(np.abs(want).max()) or 1.0, float(np.abs(want).mean()) or 1.0
        lines.append(
            ErrorLine(name, float(far.mean()) / mean, _rms(far) / (_rms(want) or 1.0), float(far.max()) / largest)
        )
    return Errors(data, len(x), calibrated_on, lines)


def _results(verbs: Verbs, x: Array, codes: Codes) -> dict[str, Array]:
    own = verbs.encode(x)
    found = {
        "encode()/static": own.static,
        "encode()/dynamic": own.dynamic,
        "decode()/x": verbs.decode(codes),
        "reconstruct()/x": verbs.reconstruct(x),
    }
    if "swap" not in verbs.abilities.refusals:
        found["swap()/a_with_b"] = verbs.swap(x, x[np.roll(np.arange(len(x)), 1)])[0]
    return found


def against_model(reference: Verbs, candidates: Iterable[Verbs], scale: Scale | None = None) -> list[Row]:
    """Compare candidates with a model over every case, graph and verb."""
    candidates = list(candidates)
    lower = any(set(precisions_of(candidate).values()) - {"float32"} for candidate in candidates)
    cases = [graph_inputs(reference, *within(reference, *size), scale, drawn=lower) for size in SIZES]
    rows = []
    expected = [expected_results(reference, inputs) for inputs in cases]
    for candidate in candidates:
        precisions = precisions_of(candidate)
        for inputs, want in zip(cases, expected, strict=True):
            found, told = run_all(candidate, inputs), comparable(want, candidate)
            rows += compare(label(candidate), found, told, reference.element, scale, precisions)
    return rows


def against_golden(
    vectors: tuple[Arrays, Arrays], candidates: Iterable[Verbs], where: Path, scale: Scale | None = None
) -> list[Row]:
    """Compare candidates with the golden vectors of their bundle.

    Args:
        vectors: inputs and expected results, as `vectors.golden_vectors` returns them.
        candidates: the bundle in its formats.
        where: path of the golden vectors, for messages.
        scale: scale of the features, if there are any.

    Raises:
        BundleError: inputs or results that the graphs and verbs have are missing from the vectors.
    """
    inputs, expected = vectors
    rows = []
    for candidate in candidates:
        require_complete(candidate, inputs, where)
        found = run_all(candidate, inputs)
        told, precisions = comparable(expected, candidate), precisions_of(candidate)
        require_same(found, told, where)
        rows += compare(label(candidate), found, told, candidate.element, scale, precisions)
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
