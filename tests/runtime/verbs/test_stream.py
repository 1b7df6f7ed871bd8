"""Live streams give, element by element, what encode and reconstruct give for whole sequences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from sdkit.export.proof.cases import sample
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.codes import Codes
from sdkit.runtime.contract import STEP
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import CapabilityError, ConfigError, DataError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.runtime.verbs.stream import Step, Stream
from sdkit.training.run import Run
from tests.export.runs import lively_model, quick_export, write_run
from tests.tiny import sequences

MODELS: dict[str, dict[str, Any]] = {
    "paper": {},
    "filter": {"variant": "filter"},
    "no subtraction": {"subtract": "none"},
    "features, inferred": {"subtract": "features", "anchor_dynamic": "inferred", "layers": 2},
    "filter beside a constant anchor": {"filter": True, "layers": 3},
    "series": {"element": Element("series", (6, 2), "float32")},
    "spectrum": {"element": Element("spectrum", (9,), "float32"), "anchor_dynamic": "inferred"},
    "float images": {"element": Element("image", (1, 8, 8), "float32")},
}
BACKENDS = ("torch", "torchscript", "onnx")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """Return a function that exports a model of the table in both formats, once."""
    folder = tmp_path_factory.mktemp("streams")
    bundles: dict[str, Bundle] = {}

    def make(name: str) -> Bundle:
        if name not in bundles:
            run = write_run(folder / name, lively_model(**MODELS[name]))
            bundles[name] = quick_export(run, format="all")
        return bundles[name]

    return make


@pytest.fixture(params=[(m, b) for m in MODELS for b in BACKENDS], ids="-".join)
def subject(request: pytest.FixtureRequest, bundle: Callable[[str], Bundle]) -> Verbs:
    """Return the verbs of a model on a backend."""
    name, backend = cast(tuple[str, str], request.param)
    made = bundle(name)
    if backend == "torch":
        return verbs(Run(made.path.parent).load_model())
    return Runtime.open(made.path, device="cpu", threads=1, backend=backend)  # type: ignore[arg-type]


@pytest.fixture
def paper(mini: Bundle) -> Runtime:
    return Runtime.open(mini.path, device="cpu", threads=1)


def push_all(stream: Stream, x: Array) -> list[Step]:
    return [stream.push(x[:, t]) for t in range(x.shape[1])]


def joined(steps: list[Step]) -> tuple[Codes, Array]:
    """Return the codes and reconstruction of all steps as those of sequences."""
    codes = Codes(steps[-1].static, np.stack([step.dynamic for step in steps], 1))
    return codes, np.stack([step.x for step in steps], 1)


def assert_same(found: Codes, expected: Codes, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found.static, expected.static, atol=atol)
    np.testing.assert_allclose(found.dynamic, expected.dynamic, atol=atol)


@pytest.mark.parametrize(("batch", "steps"), [(1, 2), (3, 7), (5, 3), (2, 60)])
def test_online_is_offline(subject: Verbs, batch: int, steps: int) -> None:
    x = sample(subject.element, batch, steps, seed=1)
    taken = push_all(subject.stream(batch), x)
    codes, decoded = joined(taken)
    offline = subject.encode(x)
    assert_same(codes, offline)
    for step in taken:
        np.testing.assert_allclose(step.static, offline.static, atol=1e-5)
    np.testing.assert_allclose(decoded, subject.reconstruct(x), atol=1e-4 * subject.element.high, rtol=1e-4)
    assert np.abs(offline.dynamic[:, 1:] - offline.dynamic[:, :1]).max() > 1e-2  # a wrong step would be seen


def test_shapes_and_types(subject: Verbs) -> None:
    x = sample(subject.element, 3, 2, seed=1)
    stream = subject.stream(3)
    assert len(stream) == 3
    for t in range(2):
        step = stream.push(x[:, t])
        assert step.static.shape == (3, subject.widths.static_size)
        assert step.dynamic.shape == (3, subject.widths.dynamic_size)
        assert step.x.shape == (3, *subject.element.shape)
        assert {part.dtype for part in (step.static, step.dynamic, step.x)} == {np.dtype(np.float32)}
        assert stream.state.shape == (3, subject.widths.state)


@pytest.mark.parametrize(
    ("rows", "which"),
    [
        (None, [0, 1, 2]),
        (1, [1]),
        (-1, [2]),
        ([0, 2], [0, 2]),
        (slice(1, None), [1, 2]),
        (np.array([True, False, True]), [0, 2]),
        ([], []),
    ],
    ids=str,
)
def test_streams_begin_anew_while_others_go_on(subject: Verbs, rows: Any, which: list[int]) -> None:
    before, x = sample(subject.element, 3, 4, seed=2), sample(subject.element, 3, 5, seed=3)
    stream = subject.stream(3)
    push_all(stream, before)
    stream.reset(rows)
    codes, _ = joined(push_all(stream, x))
    anew, gone_on = subject.encode(x), subject.encode(np.concatenate([before, x], 1))
    others = [row for row in range(3) if row not in which]
    assert_same(codes[which], anew[which])
    assert_same(codes[others], Codes(gone_on.static, gone_on.dynamic[:, 4:])[others])
    assert np.abs(anew.static - gone_on.static).max() > 1e-2


def test_a_stream_knows_nothing_of_its_neighbours(subject: Verbs) -> None:
    x = sample(subject.element, 3, 6, seed=1)
    together, _ = joined(push_all(subject.stream(3), x))
    for row in range(3):
        alone, _ = joined(push_all(subject.stream(), x[row : row + 1]))
        assert_same(alone, together[row : row + 1])


def test_a_row_of_the_state_is_a_stream(subject: Verbs) -> None:
    """Streams are kept, put into another batch, in another order, and go on."""
    x = sample(subject.element, 3, 8, seed=1)
    first = subject.stream(3)
    push_all(first, x[:, :4])
    kept = first.state
    first.reset()
    second = subject.stream(2)
    second.state = kept[[2, 0]]
    found, _ = joined(push_all(second, x[[2, 0], 4:]))
    expected = subject.encode(x[[2, 0]])
    assert_same(found, Codes(expected.static, expected.dynamic[:, 4:]))


def test_the_anchors_code_is_zero_where_it_is_a_constant(bundle: Callable[[str], Bundle]) -> None:
    for name, zero in (("paper", True), ("filter beside a constant anchor", True), ("filter", False)):
        stream = Runtime.open(bundle(name).path, device="cpu").stream(2)
        x = sequences(2, 3)
        for _ in range(2):
            assert (stream.push(x[:, 0]).dynamic == 0).all() == zero
            assert (stream.push(x[:, 1]).dynamic != 0).all()
            stream.reset()


def test_codes_do_not_wait(paper: Runtime) -> None:
    """What is pushed later changes nothing that was told before."""
    x = sequences(2, 5)
    steps = push_all(paper.stream(2), x)
    kept = [step.dynamic.copy() for step in steps]
    other = x.copy()
    other[:, 3:] = 255 - other[:, 3:]
    for t, step in enumerate(push_all(paper.stream(2), other)):
        assert (np.abs(step.dynamic - kept[t]).max() > 1e-3) == (t >= 3)


# What is refused.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": "release"}, "its LSTM is bidirectional, so no dynamic code is known before the last element"),
        ({"anchor": "middle"}, "its static code is read from the middle element"),
        ({"variant": "filter", "anchor": "last"}, "its static code is read from the last element"),
    ],
    ids=["release", "middle", "last"],
)
def test_models_that_cannot_run_online_say_why(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    made = quick_export(write_run(tmp_path / "run", lively_model(**changes)), format="all")
    assert STEP not in made.manifest.graphs
    subjects = [Runtime.open(made.path, device="cpu", backend=format_) for format_ in made.manifest.formats]
    for subject in (*subjects, verbs(lively_model(**changes))):
        with pytest.raises(CapabilityError, match=words) as caught:
            subject.stream()
        message = str(caught.value)
        assert message.startswith("this model cannot stream: ")
        assert message.endswith(("bidirectional = false", "causal variants with anchor = first can"))
        assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:1], r"x is \(1, 3, 16, 16\) uint8; expected \(2, 3, 16, 16\) uint8, an element a stream"),
        (lambda x: x[:, None], r"x is \(2, 1, 3, 16, 16\) uint8"),
        (lambda x: x[..., :8], r"x is \(2, 3, 16, 8\) uint8"),
        (lambda x: x.astype(np.float32), r"x is \(2, 3, 16, 16\) float32; expected .* uint8"),
    ],
    ids=["too few", "a sequence", "another element", "another dtype"],
)
def test_what_is_not_an_element_of_every_stream(paper: Runtime, change: Any, words: str) -> None:
    x = sequences(2, 3)
    stream = paper.stream(2)
    stream.push(x[:, 0])
    with pytest.raises(DataError, match=words):
        stream.push(change(x[:, 1]))
    # What was refused was not taken: the stream goes on.
    steps = push_all(stream, x[:, 1:])
    np.testing.assert_allclose(steps[-1].dynamic, paper.encode(x).dynamic[:, 2], atol=1e-5)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "holds NaN or infinite pixels"), (2.0, r"lie in \[0, 1\]")])
def test_values_that_no_image_has(bundle: Callable[[str], Bundle], value: float, words: str) -> None:
    stream = Runtime.open(bundle("float images").path, device="cpu").stream(2)
    x = np.full((2, 1, 8, 8), 0.5, np.float32)
    x[1, 0, 3, 3] = value
    with pytest.raises(DataError, match=words):
        stream.push(x)


@pytest.mark.parametrize("graph", ["encoder", STEP, "decoder"])
def test_an_error_moves_no_stream(paper: Runtime, monkeypatch: pytest.MonkeyPatch, graph: str) -> None:
    x = sequences(2, 3)
    stream = paper.stream(2)
    stream.push(x[:, 0])
    run = paper.backend.run

    def failing(name: str, inputs: Any) -> Any:
        if name == graph:
            raise RuntimeError("out of memory")
        return run(name, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(paper.backend, "run", failing)
        with pytest.raises(RuntimeError):
            stream.push(x[:, 1])
    steps = push_all(stream, x[:, 1:])
    np.testing.assert_allclose(steps[-1].dynamic, paper.encode(x).dynamic[:, 2], atol=1e-5)


@pytest.mark.parametrize("rows", [2, [0, 5], [True, False, True], "all"], ids=str)
def test_rows_that_are_not_there(paper: Runtime, rows: Any) -> None:
    stream = paper.stream(2)
    stream.push(sequences(2, 1)[:, 0])
    before = stream.state
    with pytest.raises(ConfigError, match="there are 2 streams, 0 to 1"):
        stream.reset(rows)
    np.testing.assert_array_equal(stream.state, before)
    assert (stream.state[:, 0] == 1).all()


@pytest.mark.parametrize("batch", [0, -1])
def test_no_streams_at_all(paper: Runtime, batch: int) -> None:
    with pytest.raises(ConfigError, match=f"batch = {batch}; there must be at least 1 stream"):
        paper.stream(batch)


def test_more_streams_than_a_batch_of_sequences(paper: Runtime) -> None:
    paper.batch_size = 2
    x = sequences(5, 3)
    codes, _ = joined(push_all(paper.stream(5), x))
    assert_same(codes, paper.encode(x))


def test_the_state_is_told_in_the_manifest(mini: Bundle, paper: Runtime) -> None:
    widths, settings = mini.manifest.widths, mini.manifest.settings
    expected = 1 + widths.features + 2 * settings["layers"] * settings["hidden_size"]
    assert widths.state == paper.widths.state == expected
    graph = msgspec.to_builtins(mini.manifest.graphs[STEP])
    assert [list(t["shape"]) for t in graph["inputs"]] == [["B", 1, widths.features], ["B", expected]]
