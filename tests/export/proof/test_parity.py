"""What counts as equal, and that nothing else does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sdkit.export.proof.cases import (
    GOLDEN_SIZE,
    SIZES,
    expected_results,
    golden,
    graph_inputs,
    run_all,
    sample,
    split_golden,
)
from sdkit.export.proof.parity import (
    Report,
    Row,
    against_golden,
    against_model,
    compare,
    label,
    read_report,
    tolerance,
    versions,
)
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ParityError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.verbs.arrays import Verbs
from tests.export.runs import lively_model
from tests.tiny import IMAGE

FLOAT = Element("image", (3, 16, 16), "float32")
SERIES = Element("series", (6, 2), "float32")
SPECTRUM = Element("spectrum", (9,), "float32")


@pytest.fixture(scope="module")
def reference() -> Verbs:
    return verbs(lively_model())


@pytest.fixture(scope="module")
def expected(reference: Verbs) -> dict[str, Array]:
    return run_all(reference, graph_inputs(reference, 3, 4))


@pytest.mark.parametrize(
    ("result", "element", "atol"),
    [
        ("encoder/features", IMAGE, 1e-5),
        ("static/static_std", IMAGE, 1e-5),
        ("prior/dynamic", FLOAT, 1e-5),
        ("encode(seed)/dynamic", IMAGE, 1e-5),
        ("decoder/x", IMAGE, 255e-5),
        ("decoder/x", FLOAT, 1e-5),
        ("decoder/x_std", FLOAT, 1e-5),
        ("decode()/x", IMAGE, 255e-4),
        ("swap()/a_with_b", IMAGE, 255e-4),
        ("generate()/x", FLOAT, 1e-4),
    ],
)
def test_tolerances(result: str, element: Element, atol: float) -> None:
    allowed = tolerance(result, element)
    assert allowed.atol == pytest.approx(atol)
    assert allowed.rtol == 1e-4


def test_equal_results_agree(expected: dict[str, Array]) -> None:
    rows = compare("same", {key: value.copy() for key, value in expected.items()}, expected, IMAGE)
    assert [row.result for row in rows] == list(expected)
    assert all(row.ok and row.max_abs == row.max_rel == 0 and (row.batch, row.steps) == (3, 4) for row in rows)


@pytest.mark.parametrize("result", ["encoder/features", "decoder/x", "generate()/x", "encode()/static"])
def test_a_single_value_beyond_its_tolerance_is_a_difference(expected: dict[str, Array], result: str) -> None:
    allowed = tolerance(result, IMAGE)
    place = np.unravel_index(np.abs(expected[result]).argmin(), expected[result].shape)
    value = float(expected[result][place])
    for factor, agrees in ((0.5, True), (2.0, False)):
        got = {key: array.copy() for key, array in expected.items()}
        difference = factor * (allowed.atol + allowed.rtol * abs(value))
        got[result][place] += np.float32(difference)
        rows = {row.result: row for row in compare("other", got, expected, IMAGE)}
        assert rows[result].ok is agrees
        assert rows[result].max_abs == pytest.approx(difference, rel=0.05)
        assert rows[result].max_rel == pytest.approx(difference / np.abs(expected[result]).max(), rel=0.05)
        assert all(row.ok for name, row in rows.items() if name != result)


def with_value(value: float) -> Callable[[Array], Array]:
    def change(x: Array) -> Array:
        x = x.copy()
        x.flat[-1] = value
        return x

    return change


CHANGES: dict[str, Callable[[Array], Array | None]] = {
    "missing": lambda x: None,
    "fewer steps": lambda x: x[:, :-1],
    "one for all": lambda x: x[:1],
    "another axis": lambda x: x[..., None],
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "NaN": with_value(np.nan),
    "infinity": with_value(np.inf),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_cannot_be_compared_is_infinitely_far(expected: dict[str, Array], name: str) -> None:
    changed = CHANGES[name](expected["dynamic/dynamic_std"])
    got = {key: value for key, value in expected.items() if key != "dynamic/dynamic_std"}
    if changed is not None:
        got["dynamic/dynamic_std"] = changed
    bad = [row for row in compare("other", got, expected, IMAGE) if not row.ok]
    assert [(row.result, row.max_abs, row.max_rel) for row in bad] == [("dynamic/dynamic_std", np.inf, np.inf)]


def test_a_reference_that_is_not_finite_proves_nothing(expected: dict[str, Array]) -> None:
    broken = {**expected, "decoder/x": with_value(np.nan)(expected["decoder/x"])}
    assert [row.result for row in compare("same", broken, broken, IMAGE) if not row.ok] == ["decoder/x"]


def row(result: str, ok: bool, far: float, candidate: str = "onnx on cpu", size: tuple[int, int] = (1, 2)) -> Row:
    return Row(candidate, result, *size, far, far / 10, 1e-5, 1e-4, ok)


def test_require_names_the_worst() -> None:
    rows = [
        row("encoder/features", True, 1e-7),
        row("static/static_mean", False, 0.25, size=(3, 7)),
        row("decoder/x", False, 0.125),
    ]
    report = Report("the weights in PyTorch", rows)
    assert not report.ok
    with pytest.raises(ParityError) as caught:
        report.require()
    assert str(caught.value) == (
        "2 of 3 results differ from the weights in PyTorch; the worst: static/static_mean of onnx on cpu at B=3, T=7, "
        "by 0.25 (allowed 1e-05 + 0.0001 |value|)"
    )
    rows.append(row("prior/dynamic", False, float("inf"), size=(4, 2)))
    with pytest.raises(ParityError, match=r"the worst: prior/dynamic of onnx on cpu at B=4, T=2, by inf"):
        Report("the weights", rows).require()


def test_require_passes_where_all_agree_and_never_on_nothing() -> None:
    report = Report("the weights", [row("a/x", True, 0.0)])
    assert report.ok
    report.require()
    assert not Report("the weights").ok
    with pytest.raises(ParityError, match="nothing was compared against the golden vectors"):
        Report("the golden vectors").require()


def test_lines_join_the_sizes_of_a_result() -> None:
    rows = [
        row("a/x", True, 0.5, size=(1, 2)),
        row("a/x", False, 2.0, size=(3, 7)),
        row("b/x", True, 0.0, size=(1, 2)),
        row("a/x", True, 0.25, candidate="torchscript on cpu", size=(1, 2)),
    ]
    report = Report("the weights", rows, {"python": "3"})
    told = [(line.candidate, line.result, line.sizes, line.max_abs, line.ok) for line in report.lines()]
    assert told == [
        ("onnx on cpu", "a/x", [(1, 2), (3, 7)], 2.0, False),
        ("onnx on cpu", "b/x", [(1, 2)], 0.0, True),
        ("torchscript on cpu", "a/x", [(1, 2)], 0.25, True),
    ]
    summary = report.summary()
    assert (summary["ok"], summary["reference"], summary["versions"]) == (False, "the weights", {"python": "3"})
    assert [line["max_rel"] for line in summary["results"]] == [0.2, 0.0, 0.025]


def test_summary_is_json_whatever_was_found() -> None:
    summary = Report("the weights", [row("a/x", False, float("inf"))]).summary()
    assert summary["results"][0]["max_abs"] is None
    assert msgspec.json.decode(msgspec.json.encode(summary))["ok"] is False


def test_reports_round_trip(mini: Bundle) -> None:
    report = read_report(mini)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert report.ok


# Cases.


@pytest.mark.parametrize("element", [IMAGE, FLOAT, SERIES, SPECTRUM], ids=lambda e: f"{e.kind}-{e.dtype}")
def test_samples_are_sequences_of_their_element(element: Element) -> None:
    x = sample(element, 3, 7, 20)
    assert x.shape == (3, 7, *element.shape)
    assert element.check(x) is x
    np.testing.assert_array_equal(sample(element, 3, 7, 20), x)
    for other in (sample(element, 3, 7, 21), sample(element, 3, 8, 20)[:, :7]):
        assert (np.nan_to_num(other) != np.nan_to_num(x)).mean() > 0.3
    assert np.isnan(x).any() == (element.kind == "series")
    values = x[np.isfinite(x)].astype(np.float64)
    assert values.std() > 0.2 * element.high if element.kind == "image" else values.std() > 0.4


def test_sizes_hold_the_edges() -> None:
    assert len(SIZES) >= 3
    assert min(batch for batch, _ in SIZES) == 1
    assert min(steps for _, steps in SIZES) == 2
    assert len({steps for _, steps in SIZES}) >= 3


def test_inner_inputs_are_what_the_reference_computes(reference: Verbs) -> None:
    inputs = graph_inputs(reference, 2, 5)
    codes = reference.encode(inputs["x"])
    np.testing.assert_array_equal(inputs["static"], codes.static)
    np.testing.assert_array_equal(inputs["dynamic"], codes.dynamic)
    assert inputs["other"].shape[:2] == (2, 6)
    assert inputs["noise"].shape == codes.dynamic.shape


def test_golden_vectors_hold_inputs_and_every_result(reference: Verbs) -> None:
    arrays = golden(reference)
    inputs, results = split_golden(arrays)
    assert len(inputs) + len(results) == len(arrays)
    assert inputs["x"].shape[:2] == GOLDEN_SIZE
    again = expected_results(reference, inputs)
    assert set(results) == set(again) == set(run_all(reference, inputs))
    for name, value in results.items():
        np.testing.assert_array_equal(again[name], value)


def test_streams_are_held_against_whole_sequences(reference: Verbs) -> None:
    inputs = graph_inputs(reference, 3, 7)
    expected, streamed = expected_results(reference, inputs), run_all(reference, inputs)
    codes = reference.encode(inputs["x"])
    np.testing.assert_array_equal(expected["stream()/static"], codes.static)
    np.testing.assert_array_equal(expected["stream()/dynamic"], codes.dynamic)
    np.testing.assert_array_equal(expected["stream()/x"], reference.reconstruct(inputs["x"]))
    np.testing.assert_allclose(streamed["stream()/dynamic"], codes.dynamic, atol=1e-5)
    # A stream that forgot its past would be seen: codes differ step by step.
    assert np.abs(np.diff(codes.dynamic[:, 1:], axis=1)).max() > 1e-2


def test_steps_are_tried_on_old_streams_and_new(reference: Verbs) -> None:
    state = graph_inputs(reference, 4, 5)["state"]
    assert state[:, 0].tolist() == [1, 0, 1, 0]
    assert (state[1::2] == 0).all()
    assert (np.abs(state[::2]) > 0).mean() > 0.9


def test_nothing_is_streamed_that_cannot_be() -> None:
    release = verbs(lively_model("release"))
    inputs = graph_inputs(release, 2, 3)
    assert not {"state", "element_features"} & set(inputs)
    assert not [name for name in run_all(release, inputs) if "stream" in name or "step" in name]


@pytest.mark.parametrize("variant", [{"seed": 1}, {"anchor": "last"}, {"subtract": "none"}], ids=str)
def test_another_model_differs(reference: Verbs, variant: dict[str, Any]) -> None:
    """The proof can fail: other weights, another anchor and another subtraction are all seen."""
    other = verbs(lively_model(**variant))
    for rows in (
        against_model(reference, [other]),
        against_golden(split_golden(golden(reference)), [other], Path("golden.npz")),
    ):
        bad = {row.result for row in rows if not row.ok}
        assert {"reconstruct()/x", "swap()/a_with_b", "encode()/dynamic"} <= bad
    assert all(row.ok for row in against_model(reference, [reference]))


def test_label_and_versions(mini: Bundle) -> None:
    assert label(Runtime.open(mini.path, device="cpu")) == "onnx on cpu"
    found = versions()
    assert {"python", "machine", "numpy", "torch", "onnx", "onnxruntime"} <= set(found)
    assert found["numpy"] == np.__version__
