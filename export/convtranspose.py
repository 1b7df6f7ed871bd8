"""Transposed convolutions of an ONNX graph, written as operators that give the same values and exist in 8 bits.

ONNX Runtime has no 8-bit ConvTranspose. The two kinds that image decoders are built of can be written exactly:

* Kernel 4, stride 2, padding 1, which doubles the sides. Output row 2y reads input rows y - 1 and y, and output row
  2y + 1 reads y and y + 1: two rows each. So one 2x2 convolution with padding 1 gives, as channels, output row 2j - 1
  and then 2j for each j from 0 to H; laid out, that is the output with one more row at each end, which is cut off. The
  same holds for columns. The arithmetic is that of the transposed convolution, (H + 1)(W + 1) / HW times.
* Any kernel on a 1x1 input, which is a matrix product.

A batch norm behind a transposed convolution is folded into its weights.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from sdkit.runtime.element import Array

Floats = Array
Node = Any
Shape = tuple[int | None, ...]

TAPS = ((0, 0, 2), (0, 1, 0), (1, 0, 3), (1, 1, 1))
"""(p, row of the 2x2 kernel, row of the 4x4 kernel) of output row 2j - 1 (p = 0) and 2j (p = 1)."""


class _Layer(NamedTuple):
    name: str
    source: str
    result: str
    weight: Floats
    bias: Floats
    size: tuple[int, int]
    """Of the input: height, width."""


def rewrite_transposed(proto: Any) -> int:
    """Rewrite, in place, the transposed convolutions of an ONNX model that can be written exactly.

    Others are left as they are: grouped or dilated ones, other strides, inputs of unknown size, and weights that are no
    initializers.

    Returns:
        How many were rewritten.
    """
    import onnx

    graph = proto.graph
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        # The exporter keeps equal weights once, and names the others by such nodes.
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    shapes = _shapes(onnx.shape_inference.infer_shapes(proto))
    outputs = {value.name for value in graph.output}
    readers: dict[str, list[Node]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    nodes: list[Node] = []
    folded: list[Node] = []
    count = 0
    for node in graph.node:
        form = _form(node, constants, shapes) if node.op_type == "ConvTranspose" else None
        if form is None:
            if not any(node is norm for norm in folded):
                nodes.append(node)
            continue
        weight = constants[node.input[1]]
        bias = constants[node.input[2]] if len(node.input) > 2 else np.zeros(weight.shape[1], np.float32)
        result, following = node.output[0], readers.get(node.output[0], [])
        if len(following) == 1 and result not in outputs and _foldable(following[0], constants):
            weight, bias = _fold(following[0], weight, bias, constants)
            result = following[0].output[0]
            folded.append(following[0])
        height, width = shapes[node.input[0]][2:]
        size = (height or 0, width or 0)
        made, arrays = form(_Layer(f"transposed_{count}", node.input[0], result, weight, bias, size))
        nodes += made
        graph.initializer.extend(
            onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()
        )
        count += 1
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return count


def _form(
    node: Node, constants: dict[str, Array], shapes: dict[str, Shape]
) -> Callable[[_Layer], tuple[list[Node], dict[str, Array]]] | None:
    """Return the function that rewrites a transposed convolution, or None."""
    from onnx import helper

    shape = shapes.get(node.input[0], ())
    if len(shape) != 4 or None in shape[2:] or not all(name in constants for name in node.input[1:]):
        return None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    pads, kernel = list(attributes.get("pads", [0] * 4)), constants[node.input[1]].shape[2:]
    if (
        attributes.get("group", 1) != 1
        or set(attributes.get("dilations", [1])) != {1}
        or any(attributes.get("output_padding", [0]))
        or attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
        or "output_shape" in attributes
    ):
        return None
    if kernel == (4, 4) and list(attributes.get("strides", [1, 1])) == [2, 2] and pads == [1] * 4:
        return _doubling
    return _product if shape[2:] == (1, 1) and not any(pads) else None


def phases(weight: Floats) -> Floats:
    """Return the 2x2 kernel (4 * O, I, 2, 2) of a doubling layer's (I, O, 4, 4); its channels are (p, q, o)."""
    inputs, outputs = weight.shape[:2]
    kernel = np.zeros((2, 2, outputs, inputs, 2, 2), weight.dtype)
    for p, row, from_row in TAPS:
        for q, column, from_column in TAPS:
            kernel[p, q, :, :, row, column] = weight[:, :, from_row, from_column].T
    return kernel.reshape(4 * outputs, inputs, 2, 2)


def _doubling(layer: _Layer) -> tuple[list[Node], dict[str, Array]]:
    """Return convolution and shuffle; NHWC inside the shuffle, where whole runs of channels are moved."""
    outputs, (height, width) = layer.weight.shape[1], layer.size
    rows, columns, name = height + 1, width + 1, layer.name
    arrays: dict[str, Array] = {
        f"{name}_kernel": phases(layer.weight),
        f"{name}_bias": np.tile(layer.bias, 4),
        f"{name}_split": np.array([-1, rows, columns, 2, 2, outputs], np.int64),
        f"{name}_joined": np.array([-1, 2 * rows, 2 * columns, outputs], np.int64),
        f"{name}_start": np.array([1, 1], np.int64),
        f"{name}_end": np.array([2 * rows - 1, 2 * columns - 1], np.int64),
        f"{name}_axes": np.array([1, 2], np.int64),
    }
    kernel, bias, split, joined, *crop = arrays
    steps: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
        ("Conv", [kernel, bias], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}),
        ("Transpose", [], {"perm": [0, 2, 3, 1]}),
        ("Reshape", [split], {}),
        ("Transpose", [], {"perm": [0, 1, 3, 2, 4, 5]}),
        ("Reshape", [joined], {}),
        ("Slice", crop, {}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
    )
    return _chain(layer, steps), arrays


def _product(layer: _Layer) -> tuple[list[Node], dict[str, Array]]:
    """Return the matrix product that a transposed convolution of one pixel is."""
    inputs, outputs, height, width = layer.weight.shape
    arrays: dict[str, Array] = {
        f"{layer.name}_matrix": layer.weight.reshape(inputs, -1),
        f"{layer.name}_bias": np.repeat(layer.bias, height * width),
        f"{layer.name}_size": np.array([-1, outputs, height, width], np.int64),
    }
    matrix, bias, size = arrays
    steps: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
        ("Flatten", [], {"axis": 1}),
        ("Gemm", [matrix, bias], {}),
        ("Reshape", [size], {}),
    )
    return _chain(layer, steps), arrays


def _chain(layer: _Layer, steps: Iterable[tuple[str, list[str], dict[str, Any]]]) -> list[Node]:
    """Return the nodes of a layer, each fed by the one before."""
    from onnx import helper

    nodes, source = [], layer.source
    for number, (kind, inputs, attributes) in enumerate(steps):
        name = f"{layer.name}_{kind}_{number}"
        nodes.append(helper.make_node(kind, [source, *inputs], [name], name, **attributes))
        source = name
    nodes[-1].output[0] = layer.result
    return nodes


def _foldable(node: Node, constants: dict[str, Array]) -> bool:
    return node.op_type == "BatchNormalization" and all(name in constants for name in node.input[1:])


def _fold(norm: Node, weight: Floats, bias: Floats, constants: dict[str, Array]) -> tuple[Floats, Floats]:
    """Return weight (I, O, h, w) and bias (O,) of a transposed convolution with its batch norm."""
    scale, offset, mean, variance = (constants[name].astype(np.float64) for name in norm.input[1:5])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    factor = scale / np.sqrt(variance + epsilon)
    return (weight * factor[:, None, None]).astype(np.float32), ((bias - mean) * factor + offset).astype(np.float32)


def _shapes(proto: Any) -> dict[str, Shape]:
    return {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
        for value in (*proto.graph.value_info, *proto.graph.input)
    }


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [i for i in graph.initializer if i.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
