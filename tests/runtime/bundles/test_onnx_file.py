"""An ONNX file whose tensors lie elsewhere is refused wherever it says so, and so is what is no ONNX file."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.onnx_file import check_onnx
from sdkit.runtime.errors import BundleError
from sdkit.runtime.runtime import Runtime
from tests.export.runs import copy, swap_graph_file

CONFORMANCE = Path(__file__).parents[2] / "conformance"
SECRET = "/etc/hostname"


def external(location: str = SECRET) -> TensorProto:
    """Return a tensor whose values lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def model(**parts: object) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    return helper.make_model(helper.make_graph([node], "g", [x], [y]), **parts)


def _in_an_initializer(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(external())


def _without_a_location(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(TensorProto(data_location=TensorProto.EXTERNAL))


def _by_its_key_alone(proto: onnx.ModelProto) -> None:
    tensor = external()
    tensor.ClearField("data_location")
    proto.graph.initializer.append(tensor)


def _in_a_constant(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Constant", [], ["w"], value=external()))


def _in_a_list(proto: onnx.ModelProto) -> None:
    attribute = proto.graph.node[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(external())


def _in_a_branch(proto: onnx.ModelProto) -> None:
    inner = model()
    _in_a_constant(inner)
    proto.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner.graph, else_branch=inner.graph))


def _in_a_sparse_tensor(proto: onnx.ModelProto) -> None:
    proto.graph.sparse_initializer.add().indices.CopyFrom(external())


def _in_a_function(proto: onnx.ModelProto) -> None:
    function = proto.functions.add(name="f", domain="d")
    function.node.append(helper.make_node("Constant", [], ["w"], value=external()))


def _in_training(proto: onnx.ModelProto) -> None:
    proto.training_info.add().algorithm.initializer.append(external())


PLACES: tuple[Callable[[onnx.ModelProto], None], ...] = (
    *(_in_an_initializer, _without_a_location, _by_its_key_alone, _in_a_constant, _in_a_list, _in_a_branch),
    *(_in_a_sparse_tensor, _in_a_function, _in_training),
)


@pytest.mark.parametrize("put", PLACES, ids=lambda put: put.__name__)
def test_external_data_is_found_wherever_it_is(put: Callable[[onnx.ModelProto], None]) -> None:
    proto = model()
    check_onnx(proto.SerializeToString(), "a.onnx")
    put(proto)
    with pytest.raises(BundleError, match=r"a\.onnx takes weights from another file \(external data\)"):
        check_onnx(proto.SerializeToString(), "a.onnx")


@pytest.mark.parametrize("flag", [b"\x70\x81\x00", b"\xf0\x00\x01", b"\x70\x00\x70\x01"], ids=["value", "key", "last"])
def test_the_same_said_in_more_bytes_is_found(flag: bytes) -> None:
    """Protobuf reads numbers that are written with more bytes than they need, and the last of several values."""
    assert TensorProto.FromString(flag).data_location == TensorProto.EXTERNAL
    graph = b"\x2a" + bytes([len(flag)]) + flag
    data = b"\x3a" + bytes([len(graph)]) + graph
    with pytest.raises(BundleError, match="external data"):
        check_onnx(data, "a.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "numbers"])
@pytest.mark.parametrize(
    "kind",
    [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16],
    ids=TensorProto.DataType.Name,
)
def test_weights_that_are_not_finite_are_found_in_every_type(kind: int, raw: bool, value: float) -> None:
    def written(*values: float) -> bytes:
        proto = model()
        array = np.array(values).astype(helper.tensor_dtype_to_np_dtype(kind))
        tensor = numpy_helper.from_array(array, "w") if raw else helper.make_tensor("w", kind, array.shape, array)
        proto.graph.initializer.append(tensor)
        return bytes(proto.SerializeToString())

    check_onnx(written(1.5, -65504.0, 0.0, 1e-7), "a.onnx")
    check_onnx(written(value), "a.onnx")  # a bound
    with pytest.raises(BundleError, match=r"a\.onnx has weights that are not finite \(NaN or infinite\), in 'w'"):
        check_onnx(written(1.5, value, 0.0), "a.onnx")


def graphs() -> Iterator[Path]:
    return iter(sorted(CONFORMANCE.glob("*/*.onnx")))


def test_graphs_of_every_method_are_whole() -> None:
    files = list(graphs())
    assert len(files) > 50
    for file in files:
        check_onnx(file.read_bytes(), str(file))


@pytest.mark.parametrize(
    "data",
    [b"not protobuf", b"\x00", b"\x3a\xff\xff\xff\xff\x7f", b"\x3a\x05", b"\x0b\x0c", b"\xff" * 11, b"\x3e\x00"],
    ids=["text", "field 0", "size", "end", "group", "long number", "wire type"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"a\.onnx is not an ONNX graph; export or copy the bundle again"):
        check_onnx(data, "a.onnx")


def test_no_depth_is_too_great_for_the_walk() -> None:
    data = b""
    for _ in range(300):  # a graph in an attribute of a node of a graph ...
        for key in (b"\x32", b"\x2a", b"\x0a"):
            data = key + _number(len(data)) + data
    with pytest.raises(BundleError, match="is not an ONNX graph"):
        check_onnx(b"\x3a" + _number(len(data)) + data, "a.onnx")


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def test_mutated_files_never_end_in_another_error_and_what_passes_is_whole() -> None:
    rng, data = random.Random(12), (CONFORMANCE / "vae" / "encoder.onnx").read_bytes()
    passed = 0
    for _ in range(300):
        changed = bytearray(data[: rng.choice((len(data), rng.randrange(len(data))))])
        for _ in range(rng.randrange(1, 4)):
            if changed:
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            check_onnx(bytes(changed), "a.onnx")
        except BundleError:
            continue
        passed += 1
        try:
            proto = onnx.ModelProto.FromString(bytes(changed))
        except Exception:  # strings that are not UTF-8, and the like, which ONNX Runtime refuses as well
            continue
        assert all(tensor.data_location == TensorProto.DEFAULT for tensor in proto.graph.initializer)
    assert passed > 10


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "{folder}/weights.bin"])
def test_a_bundle_whose_graph_takes_weights_from_a_file_beside_it_is_refused(
    mini: Bundle, tmp_path: Path, location: str
) -> None:
    """The manifest vouches for the graph, and no digest for the file."""
    bundle = copy(mini, tmp_path / "bundle")
    proto = onnx.load(str(bundle.graph_file("decoder", "onnx")))
    first = next(t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) > 1)
    values = numpy_helper.to_array(first)
    for folder in (tmp_path, bundle.path):
        (folder / "weights.bin").write_bytes(np.zeros_like(values).tobytes())
    first.ClearField("raw_data")
    first.data_location = TensorProto.EXTERNAL
    first.external_data.add(key="location", value=location.format(folder=tmp_path))
    (tmp_path / "changed.onnx").write_bytes(proto.SerializeToString())
    swap_graph_file(bundle, "decoder", tmp_path / "changed.onnx")
    for open_it in (Bundle.open, Runtime.open):
        with pytest.raises(BundleError, match=r"decoder\.onnx takes weights from another file"):
            open_it(bundle.path)
