"""Transposed convolutions written as others give the same values, and those that cannot be are left alone."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sdkit.export.convtranspose import phases, rewrite_transposed
from sdkit.runtime.element import Array

RNG = np.random.default_rng(7)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def model(
    shape: tuple[int | str, ...], kernel: Array, *, bias: bool = True, norm: bool = False, **attributes: Any
) -> Any:
    """Return a model of one transposed convolution, with or without a batch norm behind it."""
    outputs = kernel.shape[1]
    arrays = {"kernel": kernel, **({"bias": normal(outputs)} if bias else {})}
    nodes = [helper.make_node("ConvTranspose", ["x", *arrays], ["y" if not norm else "z"], "layer", **attributes)]
    if norm:
        arrays |= {name: normal(outputs) for name in ("scale", "offset", "mean")} | {"variance": normal(outputs) ** 2}
        names = ["z", "scale", "offset", "mean", "variance"]
        nodes.append(helper.make_node("BatchNormalization", names, ["y"], "norm", epsilon=1e-3))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", None, None, None))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def compute(proto: Any, x: Array) -> Array:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


DOUBLING: dict[str, Any] = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 3), (2, 8)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_doubling_layers_give_the_same_values(size: tuple[int, int], bias: bool, norm: bool) -> None:
    proto = model(("N", 3, *size), normal(3, 5, 4, 4), bias=bias, norm=norm, **DOUBLING)
    x = normal(2, 3, *size)
    want = compute(proto, x)
    assert want.shape == (2, 5, 2 * size[0], 2 * size[1])
    assert rewrite_transposed(proto) == 1
    onnx.checker.check_model(proto, full_check=True)
    assert not {"ConvTranspose", "BatchNormalization"} & {node.op_type for node in proto.graph.node}
    np.testing.assert_allclose(compute(proto, x), want, rtol=1e-4, atol=1e-4)


def test_whole_numbers_come_out_to_the_last_bit() -> None:
    """Sums of whole numbers have no rounding: a term too many, too few or elsewhere would be seen."""
    proto = model(("N", 4, 6, 6), RNG.integers(-9, 10, (4, 3, 4, 4)).astype(np.float32), bias=False, **DOUBLING)
    x = RNG.integers(-9, 10, (3, 4, 6, 6)).astype(np.float32)
    want = compute(proto, x)
    assert rewrite_transposed(proto) == 1
    np.testing.assert_array_equal(compute(proto, x), want)


@pytest.mark.parametrize("kernel", [(4, 4), (2, 3), (1, 1)])
@pytest.mark.parametrize("norm", [True, False])
def test_layers_on_one_pixel_are_matrix_products(kernel: tuple[int, int], norm: bool) -> None:
    proto = model(("N", 6, 1, 1), normal(6, 5, *kernel), norm=norm, kernel_shape=list(kernel))
    x = normal(4, 6, 1, 1)
    want = compute(proto, x)
    assert want.shape == (4, 5, *kernel)
    assert rewrite_transposed(proto) == 1
    assert "Gemm" in {node.op_type for node in proto.graph.node}
    np.testing.assert_allclose(compute(proto, x), want, rtol=1e-4, atol=1e-4)


def test_no_tap_is_zero_and_none_is_lost() -> None:
    weight = normal(2, 3, 4, 4)
    kernel = phases(weight)
    assert kernel.shape == (12, 2, 2, 2)
    assert sorted(kernel.reshape(-1)) == sorted(weight.reshape(-1))


@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        (("N", 4, 3, 3), (4, 2, 4, 4), {**DOUBLING, "group": 2}),
        (("N", 4, 3, 3), (4, 2, 4, 4), {**DOUBLING, "dilations": [2, 2]}),
        (("N", 4, 3, 3), (4, 2, 4, 4), {**DOUBLING, "pads": [1, 1, 0, 0]}),
        (("N", 4, 3, 3), (4, 2, 4, 4), {**DOUBLING, "output_padding": [1, 1]}),
        (("N", 4, 3, 3), (4, 2, 4, 4), {**DOUBLING, "strides": [4, 4]}),
        (("N", 4, 3, 3), (4, 2, 3, 3), {"kernel_shape": [3, 3]}),
        (("N", 4, "H", "W"), (4, 2, 4, 4), DOUBLING),
    ],
    ids=["grouped", "dilated", "uneven", "output padding", "stride 4", "3x3", "unknown size"],
)
def test_others_are_left_alone(shape: Any, kernel: tuple[int, ...], attributes: dict[str, Any]) -> None:
    proto = model(shape, normal(*kernel), bias=False, **attributes)
    before = proto.SerializeToString(deterministic=True)
    assert rewrite_transposed(proto) == 0
    assert proto.SerializeToString(deterministic=True) == before


def test_a_result_that_others_read_keeps_its_batch_norm() -> None:
    proto = model(("N", 3, 4, 4), normal(3, 5, 4, 4), norm=True, **DOUBLING)
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ("N", None, None, None)))
    x = normal(2, 3, 4, 4)
    want = compute(proto, x)
    assert rewrite_transposed(proto) == 1
    assert "BatchNormalization" in {node.op_type for node in proto.graph.node}
    np.testing.assert_allclose(compute(proto, x), want, rtol=1e-4, atol=1e-4)


def test_weights_that_the_exporter_keeps_once_are_found() -> None:
    proto = model(("N", 3, 4, 4), normal(3, 5, 4, 4), norm=True, **DOUBLING)
    proto.graph.node[1].input[3] = "alias"
    proto.graph.node.insert(0, helper.make_node("Identity", ["offset"], ["alias"], "same"))
    x = normal(2, 3, 4, 4)
    want = compute(proto, x)
    assert rewrite_transposed(proto) == 1
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    np.testing.assert_allclose(compute(proto, x), want, rtol=1e-4, atol=1e-4)
