"""Graphs of int8 and float16: what is converted, that the contract stays, what it costs, and what is refused."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sdkit.export.bundle import export_bundle
from sdkit.export.graphs.precision import calibration_of, graph_feeds, quantise_static
from sdkit.export.proof.cases import generated, sample
from sdkit.export.proof.check import check_onnx_files
from sdkit.export.proof.parity import RMS, Metric, compare, read_report, tolerance
from sdkit.export.proof.verification import verify
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.contract import STEP
from sdkit.runtime.describe import describe_bundle
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError, MissingFileError, ParityError, SdkitError
from sdkit.runtime.runtime import Runtime
from sdkit.training.run import Run
from tests.export.runs import OFFLINE, copy, lively_model, quick_export, swap_graph_file, write_data, write_run
from tests.tiny import IMAGE, sequences

FLOAT = Element("image", (3, 16, 16), "float32")
SERIES: dict[str, Any] = {
    "element": Element("series", (4, 3), "float32"),
    "feature_mean": (120.0, 37.0, 50.0),
    "feature_std": (20.0, 0.5, 10.0),
    "encoder_widths": (8, 6),
    "decoder_widths": (6, 8),
}
SPECTRUM: dict[str, Any] = {"element": Element("spectrum", (12,), "float32")}


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Return bundles of one run, by precision; nothing of them may be changed."""
    folder = tmp_path_factory.mktemp("lower")
    run, data = write_run(folder / "run", lively_model()), write_data(folder / "data.h5", IMAGE)
    made = {name: quick_export(run, folder / name, precision=name, calibration=data) for name in ("int8", "float16")}
    return {"float32": quick_export(run), **made}


def operators(bundle: Bundle, graph: str) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(bundle.graph_file(graph, "onnx"))).graph.node)


def unchanged(a: Bundle, b: Bundle, graph: str) -> bool:
    """Whether a graph has the same operators and weights in two bundles; the exporter numbers names anew."""
    protos = [onnx.load(str(bundle.graph_file(graph, "onnx"))) for bundle in (a, b)]
    nodes = [[node.op_type for node in proto.graph.node] for proto in protos]
    weights = [[onnx.numpy_helper.to_array(i).tobytes() for i in proto.graph.initializer] for proto in protos]
    return nodes[0] == nodes[1] and weights[0] == weights[1]


def precisions(bundle: Bundle) -> dict[str, str]:
    return {name: bundle.manifest.precision_of(name) for name in bundle.manifest.graphs}


@pytest.mark.parametrize("name", ["int8", "float16"])
def test_hosts_need_not_know(lower: dict[str, Bundle], name: str) -> None:
    """Tensors, metadata and opset are those of the float32 bundle, and so are results, roughly."""
    bundle, exact = lower[name], lower["float32"]
    check_onnx_files(bundle)
    for graph, spec in exact.manifest.graphs.items():
        other = bundle.manifest.graphs[graph]
        assert (other.inputs, other.outputs) == (spec.inputs, spec.outputs)
        a, b = (onnx.load(str(one.graph_file(graph, "onnx"))) for one in (exact, bundle))
        assert list(a.graph.input) == list(b.graph.input)
        assert list(a.graph.output) == list(b.graph.output)
        stamps = ({entry.key: entry.value for entry in proto.metadata_props} for proto in (a, b))
        assert len(set(map(str, stamps))) == 1
        assert b.ir_version <= 10
        assert {entry.version for entry in b.opset_import if entry.domain == ""} == {18}
    x = sequences(3, 5)
    codes, wanted = (Runtime.open(one.path, device="cpu").encode(x) for one in (bundle, exact))
    assert 0 < np.abs(codes.dynamic - wanted.dynamic).max() < 0.2 * np.abs(wanted.dynamic).max()


def test_int8_graphs(lower: dict[str, Bundle]) -> None:
    bundle = lower["int8"]
    kept = dict.fromkeys(("static", "prior"), "float32")
    assert precisions(bundle) == {**dict.fromkeys((*OFFLINE, STEP), "int8"), **kept}
    assert bundle.manifest.precision == "int8"
    assert all(unchanged(lower["float32"], bundle, graph) for graph in kept)
    for graph in ("dynamic", STEP):
        found = operators(bundle, graph)
        assert found["DynamicQuantizeLSTM"] == 1
        assert found["LSTM"] == 0
        assert "dynamic int8 LSTM by onnxruntime" in bundle.manifest.graphs[graph].files["onnx"].exporter
    decoder = operators(bundle, "decoder")
    assert decoder["ConvTranspose"] == decoder["BatchNormalization"] == 0
    assert (decoder["Conv"], decoder["Gemm"]) == (3, 1)
    for graph in ("encoder", "decoder"):
        proto = onnx.load(str(bundle.graph_file(graph, "onnx")))
        weights = [i for i in proto.graph.initializer if i.data_type == onnx.TensorProto.INT8 and len(i.dims) > 1]
        assert len(weights) == {"encoder": 3, "decoder": 4}[graph]
        # 7 bits, so that no processor's 16-bit sums overflow.
        assert all(np.abs(onnx.numpy_helper.to_array(w).astype(int)).max() <= 64 for w in weights)
        made = {output: node.op_type for node in proto.graph.node for output in node.output}
        convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
        assert all({made[name] for name in node.input} == {"DequantizeLinear"} for node in convolutions)


def test_pixels_are_not_rounded_again(lower: dict[str, Bundle]) -> None:
    """The first convolution reads the file's own bytes: its input was never float32."""
    proto = onnx.load(str(lower["int8"].graph_file("encoder", "onnx")))
    made = {output: node for node in proto.graph.node for output in node.output}
    node = next(node for node in proto.graph.node if node.op_type == "Conv")
    dequantised = made[node.input[0]]
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    # Their scale is 1: that of the model, 1 / 255, is in the weights.
    assert float(arrays[dequantised.input[1]]) == 1
    assert int(arrays[dequantised.input[2]]) == 0
    name = dequantised.input[0]
    while name != "x":
        assert made[name].op_type == "Reshape"
        name = made[name].input[0]
    assert operators(lower["int8"], "encoder")["Cast"] == operators(lower["int8"], "encoder")["Div"] == 0


def test_float16_graphs(lower: dict[str, Bundle]) -> None:
    bundle, exact = lower["float16"], lower["float32"]
    assert precisions(bundle) == {
        name: "float16" if name in ("encoder", "decoder") else "float32" for name in (*OFFLINE, STEP)
    }
    for name in bundle.manifest.graphs:
        a, b = (one.graph_file(name, "onnx") for one in (exact, bundle))
        if bundle.manifest.precision_of(name) == "float32":
            assert unchanged(exact, bundle, name)
            continue
        weights = [i for i in onnx.load(str(b)).graph.initializer if len(i.dims) == 4]
        assert {i.data_type for i in weights} == {onnx.TensorProto.FLOAT16}
        assert b.stat().st_size < a.stat().st_size
    # No LSTM is float16: ONNX Runtime crashes on those on the CPU.
    for name in ("dynamic", "prior", STEP):
        proto = onnx.load(str(bundle.graph_file(name, "onnx")))
        assert onnx.TensorProto.FLOAT16 not in {i.data_type for i in proto.graph.initializer}


@pytest.mark.parametrize("name", ["int8", "float16"])
def test_the_price_is_measured_and_told(lower: dict[str, Bundle], name: str) -> None:
    report = read_report(lower[name])
    assert report.ok
    assert (report.precision, report.reference) == (name, "the weights in PyTorch")
    rows = {row.result: row for row in report.rows}
    assert (rows["encoder/features"].rms, rows["reconstruct()/x"].rms) == (RMS[name], RMS[name])  # type: ignore[index]
    assert rows["prior/dynamic"].rms == rows["static/static_mean"].rms == 0
    errors = report.errors
    assert errors is not None
    assert (errors.data, errors.sequences, errors.calibrated_on) == ("blocks", 6, 18 if name == "int8" else 0)
    assert [line.result for line in errors.lines] == [
        "encode()/static", "encode()/dynamic", "decode()/x", "reconstruct()/x", "swap()/a_with_b",
    ]  # fmt: skip
    assert all(0 < line.rms_rel < RMS[name] and min(line.mean_rel, line.max_rel) > 0 for line in errors.lines)  # type: ignore[index]
    card = lower[name].file("card").read_text("utf-8")
    assert f"| precision | {name}: encoder, " in card
    assert "Against float32, on 6 sequences held out of blocks" in card
    facts = describe_bundle(lower[name].path)
    assert facts["precision"] == name
    assert facts["graphs"]["encoder"].endswith(f"opset 18 {name}")
    assert facts["graphs"]["prior"].endswith("opset 18 float32")
    assert report.summary()["errors"]["lines"][0]["result"] == "encode()/static"


def test_errors_are_those_of_the_graphs(lower: dict[str, Bundle], tmp_path: Path) -> None:
    """Measured again by hand, on the validation split."""
    errors = read_report(lower["int8"]).errors
    assert errors is not None
    x = sample(IMAGE, 24, 4, 3)[18:]
    a, b = (Runtime.open(lower[name].path, device="cpu").reconstruct(x) for name in ("int8", "float32"))
    line = next(line for line in errors.lines if line.result == "reconstruct()/x")
    assert line.mean_rel == pytest.approx(np.abs(a - b).mean() / np.abs(b).mean(), rel=1e-2)
    assert line.max_rel == pytest.approx(np.abs(a - b).max() / np.abs(b).max(), rel=1e-2)
    assert line.rms_rel == pytest.approx(np.sqrt(np.square(a - b).mean() / np.square(b).mean()), rel=1e-2)


@pytest.mark.parametrize("name", ["int8", "float16"])
def test_bundles_are_verified_far_from_their_run(lower: dict[str, Bundle], name: str, tmp_path: Path) -> None:
    bundle = copy(lower[name], tmp_path / "far")
    report = verify(bundle.path)
    assert report.ok
    assert (report.reference, report.precision) == ("the golden vectors", name)
    other = quick_export(write_run(tmp_path / "other", lively_model(seed=1)))
    wrong = swap_graph_file(bundle, "encoder", other.graph_file("encoder", "onnx"))
    bad = {row.result for row in verify(wrong.path).rows if not row.ok}
    assert {"encoder/features", "encode()/dynamic"} <= bad


def test_a_graph_that_is_wrong_is_not_taken_for_a_coarse_one(run: Run, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.h5", IMAGE)
    with pytest.MonkeyPatch.context() as patch:
        from sdkit.export.graphs import precision

        def shuffled(proto: Any, feeds: Any) -> Any:
            made = quantise_static(proto, feeds)
            weight = next(i for i in made.graph.initializer if i.data_type == 3 and len(i.dims) == 4)
            array = onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(array[..., ::-1].copy(), weight.name))
            return made

        patch.setattr(precision, "quantise_static", shuffled)
        with pytest.raises(ParityError, match=r"% in root mean square \(allowed 15 %\)"):
            quick_export(run, precision="int8", calibration=data)
    assert not run.bundle.exists()


def test_an_export_is_proven_in_a_process_of_its_own(run: Run, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.h5", IMAGE)
    bundle = export_bundle(run, precision="int8", calibration=data, calibration_count=8)
    report = read_report(bundle)
    assert report.errors is not None
    assert report.errors.calibrated_on == 8


@pytest.mark.parametrize(
    ("changes", "lowered"),
    [
        (SERIES, {"dynamic", "decoder", STEP}),
        (SPECTRUM, {"dynamic", STEP}),
        ({"element": FLOAT}, {"encoder", "dynamic", "decoder", STEP}),
        ({"variant": "release"}, {"encoder", "dynamic", "decoder"}),
        ({"variant": "filter"}, {"encoder", "dynamic", "decoder", STEP}),
        ({"anchor": "middle"}, {"encoder", "dynamic", "decoder"}),
    ],
    ids=["series", "spectrum", "float image", "release", "filter", "middle"],
)
def test_int8_of_every_kind_of_model(tmp_path: Path, changes: dict[str, Any], lowered: set[str]) -> None:
    run = write_run(tmp_path / "run", lively_model(seed=1, **changes))
    data = write_data(tmp_path / "data.h5", run.config.facts.element)
    bundle = quick_export(run, precision="int8", calibration=data)
    assert {name for name, precision in precisions(bundle).items() if precision == "int8"} == lowered
    rt = Runtime.open(bundle.path, device="cpu")
    x = sample(run.config.facts.element, 3, 6, 5)
    codes = rt.encode(x)
    for values in (codes.static, codes.dynamic, rt.reconstruct(x), rt.generate(2, 5, seed=1)):
        assert np.isfinite(values).all()


def test_float16_of_models_without_convolutions_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", lively_model(**SERIES))
    with pytest.raises(ConfigError, match="float16 would change nothing: no graph of this model has convolutions"):
        quick_export(run, precision="float16")
    assert not run.bundle.exists()


def test_float16_needs_no_data(run: Run) -> None:
    report = read_report(quick_export(run, precision="float16"))
    assert report.ok
    assert report.errors is None


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"precision": "int4"}, ConfigError, "unknown precision 'int4'; choose float32, float16, int8"),
        ({"precision": "int8", "format": "torchscript"}, ConfigError, "int8 is written as ONNX only"),
        ({"precision": "float16", "format": "all"}, ConfigError, "float16 is written as ONNX only"),
        ({"precision": "int8"}, MissingFileError, r"none\.h5 does not exist; pass --calibration FILE\.h5"),
        ({"precision": "int8", "calibration": "no.h5"}, MissingFileError, r"no\.h5 does not exist; give an HDF5 file"),
        ({"precision": "float16", "calibration": "no.h5"}, MissingFileError, r"no\.h5 does not exist"),
        ({"precision": "int8", "calibration_count": 0}, ConfigError, "--calibration-count 0: it must be at least 1"),
        ({"calibration": "no.h5"}, ConfigError, "calibration and metrics belong to --precision int8 and float16"),
        ({"metrics": lambda a, b: {}}, ConfigError, "calibration and metrics belong to --precision int8 and float16"),
    ],
)
def test_refusals_leave_nothing(run: Run, options: dict[str, Any], error: type[SdkitError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        quick_export(run, **options)
    assert "\n" not in str(caught.value)
    assert not run.bundle.exists()


def test_calibration_data_must_be_the_models(run: Run, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.h5", Element("image", (3, 8, 8), "uint8"))
    with pytest.raises(DataError, match=r"data\.h5 holds image \(3, 8, 8\) uint8; the model of .* takes image \(3, 16"):
        quick_export(run, precision="int8", calibration=data)


def test_calibration_takes_training_sequences_only(run: Run, tmp_path: Path) -> None:
    data, x = write_data(tmp_path / "data.h5", IMAGE), sample(IMAGE, 24, 4, 3)
    found = calibration_of(run, data, count=4)
    assert found.name == "blocks"
    np.testing.assert_array_equal(found.sequences, x[[0, 6, 11, 17]])
    np.testing.assert_array_equal(found.held_out, x[18:])
    lengths = np.array([4, 3] * 12)
    shorter = calibration_of(run, write_data(tmp_path / "short.h5", IMAGE, lengths=lengths), count=99)
    assert shorter.sequences.shape[:2] == (18, 3)


def test_feeds_cover_what_verbs_bring() -> None:
    model = verbs(lively_model())
    x = sequences(4, 5)
    feeds = graph_feeds(model, x)
    codes = model.encode(x)
    np.testing.assert_array_equal(feeds["encoder"]["x"][:4], x)
    assert feeds["encoder"]["x"].shape == (5, 5, *IMAGE.shape)
    static, dynamic = feeds["decoder"]["static"], feeds["decoder"]["dynamic"]
    assert len(static) == len(dynamic) == 20
    np.testing.assert_array_equal(static[:4], codes.static)
    np.testing.assert_array_equal(dynamic[8:12], codes.dynamic[[3, 0, 1, 2]])
    np.testing.assert_array_equal(static[8:12], codes.static)


def test_feeds_of_a_model_that_cannot_encode_are_draws() -> None:
    model = verbs(lively_model(method="mocogan"))
    feeds = graph_feeds(model, sequences(4, 5))
    assert set(feeds) == {"decoder"}
    assert feeds["decoder"]["static"].shape == (4, model.widths.static_size)
    assert feeds["decoder"]["dynamic"].shape == (4, 5, model.widths.dynamic_size)


@pytest.mark.parametrize(
    ("method", "precision", "measured"),
    [
        ("mocogan", "int8", None),
        ("gpvae", "float16", ["encode()/static", "encode()/dynamic", "decode()/x", "reconstruct()/x"]),
    ],
)
def test_models_that_lack_verbs_are_exported_in_lower_precisions(
    tmp_path: Path, method: str, precision: str, measured: list[str] | None
) -> None:
    run = write_run(tmp_path / "run", lively_model(method=method, element=IMAGE), steps=4)
    bundle = quick_export(run, precision=precision, calibration=write_data(tmp_path / "data.h5", IMAGE))
    assert bundle.manifest.precision_of("decoder") == precision
    report = read_report(bundle)
    assert report.ok
    assert (None if report.errors is None else [line.result for line in report.errors.lines]) == measured


def test_generated_sequences_are_of_the_element() -> None:
    for element in (IMAGE, FLOAT):
        x = generated(verbs(lively_model(element=element)), 2, 3, 4)
        assert x.shape == (2, 3, *element.shape)
        assert element.check(x) is x


def test_tolerances_of_lower_precisions() -> None:
    assert tolerance("encoder/features", IMAGE).rms == 0
    assert str(tolerance("encoder/features", IMAGE)) == "1e-05 + 0.0001|x|"
    assert str(tolerance("encoder/features", IMAGE, "int8")) == "rms 15 %"


def test_only_graphs_of_a_lower_precision_and_verbs_are_held_to_it() -> None:
    want = {"encode()/dynamic": np.ones((2, 3, 4), np.float32), "static/static_mean": np.ones((2, 4), np.float32)}
    got = {name: value + np.float32(0.01) for name, value in want.items()}
    for precisions, agree in (
        ({}, (False, False)),
        ({"encoder": "int8"}, (True, False)),
        ({"static": "int8"}, (True, True)),
    ):
        rows = compare("x", got, want, IMAGE, None, precisions)  # type: ignore[arg-type]
        assert tuple(row.ok for row in rows) == agree
        assert all(row.rms_rel == pytest.approx(0.01, rel=1e-3) for row in rows)
    far = compare("x", {name: 2 * value for name, value in want.items()}, want, IMAGE, None, {"static": "int8"})
    assert not any(row.ok for row in far)


def test_metrics_are_kept_beside_parity(run: Run, tmp_path: Path) -> None:
    seen = []

    def metrics(candidate: Any, reference: Any) -> dict[str, Metric]:
        seen.append((type(candidate).__name__, candidate.backend.name, reference.backend.name))
        return {"accuracy": Metric(0.5, 0.75)}

    data = write_data(tmp_path / "data.h5", IMAGE)
    bundle = quick_export(run, precision="int8", calibration=data, metrics=metrics)
    assert seen == [("Runtime", "onnx", "torch")]
    assert read_report(bundle).metrics == {"accuracy": Metric(0.5, 0.75)}
    assert "| accuracy | 0.5 | 0.75 |" in bundle.file("card").read_text("utf-8")
    assert read_report(bundle).summary()["metrics"] == {"accuracy": {"value": 0.5, "reference": 0.75}}
