"""Images of float32 pixels in [0, 1] are exported, proven and served like those of bytes, in units of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.export.proof.parity import read_report
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Element
from sdkit.runtime.errors import DataError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import SequenceFile, SequenceMeta, SequenceWriter
from sdkit.training.run import Run
from tests.export.runs import lively_model, quick_export, write_run
from tests.tiny import sequences

FLOATS = Element("image", (3, 16, 16), "float32", ("reflectance",))


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle of both formats."""
    folder = tmp_path_factory.mktemp("floats") / "run"
    return quick_export(write_run(folder, lively_model(element=FLOATS)), format="all")


@pytest.fixture(params=["onnx", "torchscript"])
def rt(floats: Bundle, request: pytest.FixtureRequest) -> Runtime:
    return Runtime.open(floats.path, device="cpu", backend=request.param, threads=1, batch_size=2)


def test_graphs_take_and_give_floats(floats: Bundle) -> None:
    graphs = floats.manifest.graphs
    assert floats.manifest.element == FLOATS
    for tensor in (*graphs["encoder"].inputs, *graphs["decoder"].outputs):
        assert (tensor.name, tensor.dtype, tensor.shape) == ("x", "float32", ("B", "T", 3, 16, 16))


def test_tolerances_are_those_of_pixels_in_the_unit_interval(floats: Bundle) -> None:
    allowed = {row.result: row.atol for row in read_report(floats).rows}
    assert allowed["decoder/x"] == pytest.approx(1e-5)
    assert allowed["reconstruct()/x"] == pytest.approx(1e-4)
    assert read_report(floats).ok


def test_verbs_equal_the_models(floats: Bundle, rt: Runtime) -> None:
    model = verbs(Run(floats.path.parent).load_model())
    a, b = sequences(5, 6, FLOATS), sequences(5, 4, FLOATS, seed=1)
    np.testing.assert_allclose(rt.encode(a).dynamic, model.encode(a).dynamic, atol=1e-5)
    for found, expected in (
        (rt.reconstruct(a), model.reconstruct(a)),
        *zip(rt.swap(a, b), model.swap(a, b), strict=True),
        (rt.generate(5, 9, seed=2), model.generate(5, 9, seed=2)),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert 0 <= found.min() < 0.3
        assert 0.7 < found.max() <= 1
        assert np.abs(found[0] - found[1]).mean() > 1e-2  # pictures differ, so a wrong one would be seen


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 255, r"float32 images lie in \[0, 1\]"),
        (lambda x: x - 0.1, r"float32 images lie in \[0, 1\]"),
        (lambda x: np.where(x > 0.999, np.float32(np.nan), x), "NaN or infinite pixels, the first at"),
        (lambda x: (x * 255).astype(np.uint8), "is uint8; expected .* float32"),
        (lambda x: x.astype(np.float64), "is float64; expected .* float32"),
    ],
    ids=["0 to 255", "below 0", "NaN", "uint8", "float64"],
)
def test_other_pixels_are_refused(rt: Runtime, change: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rt.encode(change(sequences(2, 4, FLOATS)))


def test_files_stay_floats(rt: Runtime, tmp_path: Path) -> None:
    x = sequences(5, 4, FLOATS)
    with SequenceWriter(tmp_path / "in.h5", SequenceMeta(FLOATS)) as writer:
        writer.write(x)
    rt.reconstruct_file(tmp_path / "in.h5", tmp_path / "out.h5")
    with SequenceFile(tmp_path / "out.h5") as file:
        assert file.element == FLOATS
        np.testing.assert_allclose(file.read(slice(None)), rt.reconstruct(x), atol=1e-6)
