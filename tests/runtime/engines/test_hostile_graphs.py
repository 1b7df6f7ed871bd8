"""Graphs that the manifest vouches for and that are not what it says, or fail: one error, and no result."""

import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sdkit.runtime.bundles.bundle import Bundle, file_spec
from sdkit.runtime.codes import Codes
from sdkit.runtime.errors import BundleError, DataError, DigestError, ManifestError
from sdkit.runtime.runtime import Runtime
from tests.export.runs import copy, reseal, swap_graph_file
from tests.tiny import sequences


@pytest.fixture
def bundle(mini: Bundle, tmp_path: Path) -> Bundle:
    """Return a copy that may be spoilt."""
    return copy(mini, tmp_path / "bundle")


def changed(bundle: Bundle, graph: str, change: Callable[[onnx.ModelProto], None]) -> Bundle:
    """Change an ONNX graph, with a manifest that vouches for it."""
    proto = onnx.load(str(bundle.graph_file(graph, "onnx")))
    change(proto)
    file = bundle.path.parent / "changed.onnx"
    file.write_bytes(proto.SerializeToString())
    return swap_graph_file(bundle, graph, file)


def made(
    bundle: Bundle, graph: str, nodes: list[onnx.NodeProto], *, constants: list[TensorProto] | None = None
) -> Bundle:
    """Put other nodes into a graph, and leave its inputs and outputs as they are declared."""

    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.node[:], proto.graph.initializer[:], proto.graph.value_info[:]
        proto.graph.node.extend(nodes)
        proto.graph.initializer.extend(constants or [])

    return changed(bundle, graph, change)


def open_and_encode(bundle: Bundle) -> Codes:
    return Runtime.open(bundle.path, device="cpu", threads=1).encode(sequences(2))


def _dtype(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    for node in proto.graph.node:
        if node.op_type == "Cast" and node.input[0] == "x":
            node.op_type = "Identity"
            del node.attribute[:]


def _size(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[4].dim_value = 17


def _rank(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)


def _fixed_batch(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def _free_size(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "channels"


@pytest.mark.parametrize("change", [_dtype, _fixed_batch, _free_size], ids=lambda change: change.__name__)
def test_declared_inputs_must_be_the_manifests(bundle: Bundle, change: Callable[[onnx.ModelProto], None]) -> None:
    changed(bundle, "encoder", change)
    with pytest.raises(
        ManifestError, match=r"graph 'encoder' has x as tensor\(.*the manifest says uint8 \['B', 'T', 3"
    ):
        open_and_encode(bundle)


@pytest.mark.parametrize("change", [_size, _rank], ids=lambda change: change.__name__)
def test_sizes_that_the_nodes_do_not_take_are_refused_at_the_latest_when_they_are_declared(
    bundle: Bundle, change: Callable[[onnx.ModelProto], None]
) -> None:
    changed(bundle, "encoder", change)
    with pytest.raises(BundleError):
        open_and_encode(bundle)


def test_results_of_another_shape_than_declared_are_refused(bundle: Bundle) -> None:
    """ONNX Runtime warns of them at most, where it cannot tell before it runs them."""
    widths = {tensor.name: tensor.shape[1] for tensor in bundle.manifest.graphs["static"].outputs}
    nodes = [
        helper.make_node("Shape", ["features"], ["B"], start=0, end=1),
        helper.make_node("Add", ["B", "one"], ["rows"]),  # a row more than there are sequences
    ]
    constants = [numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero")]
    constants.append(numpy_helper.from_array(np.ones(1, np.int64), "one"))
    for name, width in widths.items():
        constants.append(numpy_helper.from_array(np.array([width], np.int64), f"width of {name}"))
        nodes.append(helper.make_node("Concat", ["rows", f"width of {name}"], [f"shape of {name}"], axis=0))
        nodes.append(helper.make_node("Expand", ["zero", f"shape of {name}"], [name]))
    made(bundle, "static", nodes, constants=constants)
    with pytest.raises(BundleError, match=r"graph 'static' returned .* as \(3, \d+\) float32 instead of \(2, \d+\)"):
        open_and_encode(bundle)


def spoilt(value: float) -> Callable[[onnx.ModelProto], None]:
    """Return a change that makes one weight of a graph another value."""

    def change(proto: onnx.ModelProto) -> None:
        largest = max(
            (t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT), key=lambda t: len(t.raw_data)
        )
        values = numpy_helper.to_array(largest).copy()
        values.reshape(-1)[len(values) // 2 :] = value
        largest.CopyFrom(numpy_helper.from_array(values, largest.name))

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("graph", ["encoder", "static", "dynamic", "decoder"])
def test_weights_that_are_not_finite_are_refused(bundle: Bundle, graph: str, value: float) -> None:
    """By their values: the LSTM of ONNX Runtime makes finite codes of NaN."""
    changed(bundle, graph, spoilt(value))
    with pytest.raises(BundleError, match=rf"{graph}\.onnx has weights that are not finite \(NaN or infinite\), in '"):
        Runtime.open(bundle.path, device="cpu", threads=1)


def test_results_that_are_not_finite_give_an_error(bundle: Bundle) -> None:
    changed(bundle, "decoder", spoilt(3e38))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"has values that are not finite \(NaN or infinite\)"):
            Runtime.open(bundle.path, device="cpu", threads=1).reconstruct(sequences(2))


def test_codes_that_are_not_finite_give_an_error_and_no_result(mini: Bundle) -> None:
    rt = Runtime.open(mini.path, device="cpu", threads=1)
    codes = rt.encode(sequences(2))
    codes.dynamic[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="'x' of the graph decoder has values that are not finite"):
        rt.decode(codes)


def test_a_graph_that_fails_is_one_error(bundle: Bundle) -> None:
    """A reshape to a size that no data have: ONNX Runtime's own error has several lines."""
    outputs = [tensor.name for tensor in bundle.manifest.graphs["encoder"].outputs]
    constants = [numpy_helper.from_array(np.array([7, 11, 13], np.int64), "shape")]
    nodes = [
        helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["y", "shape"], outputs),
    ]

    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.node[:], proto.graph.initializer[:], proto.graph.value_info[:]
        proto.graph.node.extend(nodes)
        proto.graph.initializer.extend(constants)

    changed(bundle, "encoder", change)
    with pytest.raises(BundleError, match="encoder") as caught:
        open_and_encode(bundle)
    assert "\n" not in str(caught.value)


def test_a_graph_that_asks_for_more_memory_than_there_is_is_one_error(bundle: Bundle) -> None:
    outputs = [tensor.name for tensor in bundle.manifest.graphs["encoder"].outputs]
    constants = [
        numpy_helper.from_array(np.zeros((1, 1), np.int64), "row"),
        numpy_helper.from_array(np.array([2**30, 2**30], np.int64), "shape"),
        numpy_helper.from_array(np.array([0, 0, -1], np.int64), "end"),
        numpy_helper.from_array(np.array([2], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["row", "shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["y", "end"], ["rows"]),
        helper.make_node("Add", ["rows", "number"], outputs),
    ]
    made(bundle, "encoder", nodes, constants=constants)
    with pytest.raises(BundleError, match="encoder") as caught:
        open_and_encode(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_what_runs_is_what_was_checked(bundle: Bundle, backend: str) -> None:
    """A graph that is exchanged after the bundle was opened is not run."""
    rt = Runtime.open(bundle.path, device="cpu", backend=backend)  # type: ignore[arg-type]
    (bundle.path / ("decoder.onnx" if backend == "onnx" else "decoder.ts.pt")).write_bytes(b"another")
    with pytest.raises(DigestError, match="is not the file that was exported"):
        rt.reconstruct(sequences(2))


def test_a_torchscript_graph_that_fails_is_one_error(bundle: Bundle) -> None:
    name = bundle.manifest.graphs["decoder"].files["torchscript"].path

    class Wrong(torch.nn.Module):
        def forward(self, static: torch.Tensor, dynamic: torch.Tensor) -> torch.Tensor:
            return static @ dynamic

    torch.jit.script(Wrong()).save(str(bundle.path / name))  # type: ignore[no-untyped-call]

    graphs = dict(bundle.manifest.graphs)
    files = {**graphs["decoder"].files, "torchscript": file_spec(bundle.path, name)}
    graphs["decoder"] = msgspec.structs.replace(graphs["decoder"], files=files)
    reseal(bundle, graphs=graphs)
    rt = Runtime.open(bundle.path, device="cpu", backend="torchscript")
    with pytest.raises(BundleError, match="graph 'decoder' failed in PyTorch") as caught:
        rt.reconstruct(sequences(2, 4))
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match=r"graph 'decoder' returned x as \(5, 5, 4\) float32 instead of"):
        rt.reconstruct(sequences(5, 5))
