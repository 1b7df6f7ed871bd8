"""Rewrites of ONNX graphs: equal numbers where they apply, and nothing changed where they must not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdkit.export.graphs.rewrites import (
    LEAST_CHANNELS,
    fold_batch_norms,
    fold_scales,
    join_transposed_convolutions,
    rewrite,
    split_transposed_convolutions,
    unroll_first_transposed,
)
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Array

RNG = np.random.default_rng(0)


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def model(nodes: list[Any], arrays: dict[str, Array], x: tuple[Any, ...], outputs: tuple[str, ...] = ("y",)) -> Any:
    """Return a model of nodes from `x`, float32, to its outputs."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def run(proto: Any, x: Array) -> list[Array]:
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def kinds(proto: Any) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def check(proto: Any, change: Callable[[Any], Any], x: Array) -> list[str]:
    """Apply a rewrite, require the same numbers, and return the kinds of the nodes that are left."""
    before = run(proto, x)
    names = [value.name for value in proto.graph.output]
    change(proto)
    after = run(proto, x)
    assert [value.name for value in proto.graph.output] == names
    assert len(before) == len(after)
    for a, b in zip(before, after, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * np.abs(a).max())
    return kinds(proto)


def unchanged(proto: Any, change: Callable[[Any], int]) -> None:
    before = proto.SerializeToString()
    assert change(proto) == 0
    assert proto.SerializeToString() == before


def scaled(kind: str, number: Any, swapped: bool = False, **more: Any) -> Any:
    inputs = ["number", "x"] if swapped else ["x", "number"]
    nodes = [
        helper.make_node(kind, inputs, ["scaled"]),
        helper.make_node("Conv", ["scaled", "w", "b"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    arrays = {"number": number, "w": floats(4, 3, 3, 3), "b": floats(4)}
    return model(nodes, arrays, ("N", 3, 6, 5), **more)


@pytest.mark.parametrize(("kind", "swapped"), [("Div", False), ("Mul", False), ("Mul", True)])
def test_a_scale_goes_into_the_weights_and_leaves_the_border_right(kind: str, swapped: bool) -> None:
    proto = scaled(kind, np.array([255.0], np.float32), swapped)
    x = RNG.integers(0, 256, (2, 3, 6, 5)).astype(np.float32)
    assert check(proto, rewrite, x) == ["Conv"]


@pytest.mark.parametrize("kind", ["Add", "Sub"])
def test_an_offset_stays(kind: str) -> None:
    unchanged(scaled(kind, np.array([3.0], np.float32)), fold_scales)


def test_a_scale_a_channel_and_a_division_of_a_number_stay() -> None:
    unchanged(scaled("Div", floats(3, 1, 1)), fold_scales)
    unchanged(scaled("Div", np.float32(2.0), swapped=True), fold_scales)


def test_a_scale_that_others_read_stays() -> None:
    unchanged(scaled("Div", np.float32(2.0), outputs=("y", "scaled")), fold_scales)


def normed(kind: str, **attributes: Any) -> Any:
    weights = floats(3, 5, 3, 3) if kind == "ConvTranspose" else floats(5, 3, 3, 3)
    arrays = {"w": weights, "b": floats(5), "gamma": floats(5), "beta": floats(5), "mean": floats(5)}
    arrays["variance"] = np.abs(floats(5)) + np.float32(0.1)
    inputs = ["x", "w", "b"] if attributes.pop("bias", True) else ["x", "w"]
    outputs = attributes.pop("outputs", ("y",))
    nodes = [
        helper.make_node(kind, inputs, ["hidden"], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["hidden", "gamma", "beta", "mean", "variance"], ["y"], **attributes),
    ]
    return model(nodes, arrays, ("N", 3, 4, 4), outputs)


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_goes_into_the_convolution(kind: str, bias: bool) -> None:
    assert check(normed(kind, bias=bias, epsilon=0.01), rewrite, floats(2, 3, 4, 4)) == [kind]


def test_batch_norm_stays_where_the_convolution_is_read_by_others() -> None:
    unchanged(normed("Conv", outputs=("y", "hidden")), fold_batch_norms)


def transposed(
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: int = 4,
    after: str | None = None,
    bias: bool = True,
    outputs: tuple[str, ...] = ("y",),
    **attributes: Any,
) -> Any:
    arrays = {"w": floats(channels[0], channels[1] // attributes.get("group", 1), kernel, kernel)}
    arrays["b"] = floats(channels[1])
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    nodes = [helper.make_node("ConvTranspose", inputs, ["hidden" if after else "y"], **attributes)]
    if after:
        nodes.append(helper.make_node(after, ["hidden"], ["y"]))
    return model(nodes, arrays, ("N", channels[0], *size), outputs)


@pytest.mark.parametrize("after", ["LeakyRelu", "Relu", "Sigmoid", None])
@pytest.mark.parametrize("bias", [True, False])
def test_the_first_transposed_convolution_is_a_product(after: str | None, bias: bool) -> None:
    proto = transposed((1, 1), (8, 3), 4, after, bias)
    wanted = ["Flatten", "Gemm", "Reshape"] + ([after] if after else [])
    if after in ("LeakyRelu", "Relu"):
        wanted = ["Flatten", "Gemm", after, "Reshape"]
    assert check(proto, rewrite, floats(3, 8, 1, 1)) == wanted


@pytest.mark.parametrize(
    ("size", "attributes"),
    [((2, 1), {}), ((1, 1), {"pads": [1, 1, 1, 1]}), ((1, 1), {"group": 2}), ((1, 1), {"dilations": [2, 2]})],
)
def test_other_first_layers_stay(size: tuple[int, int], attributes: dict[str, Any]) -> None:
    unchanged(transposed(size, (8, 4), **attributes), unroll_first_transposed)


def test_sizes_that_are_not_known_stay() -> None:
    unchanged(transposed(("H", "W"), (8, 4)), unroll_first_transposed)  # type: ignore[arg-type]
    proto = transposed(("H", "W"), (16, 16), strides=[2, 2], pads=[1, 1, 1, 1])  # type: ignore[arg-type]
    unchanged(proto, split_transposed_convolutions)
    unchanged(proto, join_transposed_convolutions)


DOUBLING: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize("after", ["LeakyRelu", None, "Sigmoid"])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 8)])
def test_doubling_layers_are_four_convolutions(after: str | None, size: tuple[int, int]) -> None:
    proto = transposed(size, (16, 24), 4, after, **DOUBLING)
    found = check(proto, rewrite, floats(2, 16, *size))
    assert found.count("Conv") == 4
    assert "ConvTranspose" not in found
    assert found.count("LeakyRelu") == (4 if after == "LeakyRelu" else 0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 3), (2, 8)])
def test_in_8_bits_doubling_layers_are_one_convolution(size: tuple[int, int], bias: bool) -> None:
    proto = transposed(size, (3, 5), 4, "LeakyRelu", bias, **DOUBLING)
    found = check(proto, join_transposed_convolutions, floats(2, 3, *size))
    assert (found.count("Conv"), found.count("ConvTranspose")) == (1, 0)


@pytest.mark.parametrize("change", [split_transposed_convolutions, join_transposed_convolutions])
def test_whole_numbers_come_out_to_the_last_bit(change: Callable[[Any], int]) -> None:
    """Sums of whole numbers have no rounding: a term too many, too few or elsewhere would be seen."""
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], **DOUBLING)]
    weights = RNG.integers(-9, 10, (16, 17, 4, 4)).astype(np.float32)
    proto = model(nodes, {"w": weights}, ("N", 16, 6, 5))
    x = RNG.integers(-9, 10, (3, 16, 6, 5)).astype(np.float32)
    (want,) = run(proto, x)
    assert change(proto) == 1
    np.testing.assert_array_equal(run(proto, x)[0], want)


def test_transposed_convolutions_can_be_left_whole() -> None:
    proto = transposed((4, 4), (16, 16), **DOUBLING)
    assert not any(rewrite(proto, "float16").values())
    assert kinds(proto) == ["ConvTranspose"]


@pytest.mark.parametrize(
    ("channels", "kernel", "attributes"),
    [
        ((16, 3), 4, DOUBLING),
        ((4, 16), 4, DOUBLING),
        ((16, 16), 3, DOUBLING),
        ((16, 16), 4, {"strides": [2, 2], "pads": [0, 0, 0, 0]}),
        ((16, 16), 4, {"strides": [1, 1], "pads": [1, 1, 1, 1]}),
        ((16, 32), 4, {**DOUBLING, "group": 2}),
        ((16, 16), 4, {**DOUBLING, "output_padding": [1, 1]}),
        ((16, 16), 4, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ],
)
def test_other_transposed_convolutions_stay(channels: tuple[int, int], kernel: int, attributes: dict[str, Any]) -> None:
    unchanged(transposed((4, 4), channels, kernel, **attributes), split_transposed_convolutions)
    if min(channels) >= LEAST_CHANNELS:  # in 8 bits few channels are no hindrance
        unchanged(transposed((4, 4), channels, kernel, **attributes), join_transposed_convolutions)


def test_an_activation_whose_input_is_read_by_others_is_not_moved() -> None:
    proto = transposed((3, 3), (16, 16), 4, "LeakyRelu", outputs=("y", "hidden"), **DOUBLING)
    found = check(proto, rewrite, floats(2, 16, 3, 3))
    assert found.count("LeakyRelu") == 1


def test_layers_that_share_weights_are_each_rewritten() -> None:
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["one"], **DOUBLING),
        helper.make_node("LeakyRelu", ["one"], ["two"]),
        helper.make_node("ConvTranspose", ["two", "w", "b"], ["y"], **DOUBLING),
    ]
    proto = model(nodes, {"w": floats(16, 16, 4, 4), "b": floats(16)}, ("N", 16, 2, 2))
    assert check(proto, rewrite, floats(2, 16, 2, 2)).count("Conv") == 8


def test_nodes_that_only_a_subgraph_reads_are_kept() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["scaled"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Div", ["x", "number"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "w"], ["hidden"], kernel_shape=[1, 1]),
        helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["hidden", "z"], ["y"]),
    ]
    arrays: dict[str, Any] = {"number": np.float32(2.0), "w": floats(3, 3, 1, 1), "yes": np.array(True)}
    assert check(model(nodes, arrays, ("N", 3, 2, 2)), rewrite, floats(1, 3, 2, 2)) == kinds(
        model(nodes, arrays, ("N", 3, 2, 2))
    )


def test_graphs_of_a_bundle_are_rewritten(mini: Bundle) -> None:
    found = {name: kinds(onnx.load(str(mini.graph_file(name, "onnx")))) for name in ("encoder", "decoder")}
    assert "Div" not in found["encoder"]
    assert "BatchNormalization" not in found["decoder"]
    assert "Gemm" in found["decoder"]
