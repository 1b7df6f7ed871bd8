"""Rewrites of ONNX graphs into equal ones that ONNX Runtime computes faster: the same numbers up to rounding.

Each looks for one pattern, leaves everything else alone, and returns how often it found it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sdkit.runtime.bundles.specs import Precision
from sdkit.runtime.element import Array

ACTIVATIONS = ("LeakyRelu", "Relu")
"""Activations, element by element and without weights: they may be moved before a change of layout, where ONNX Runtime
fuses them."""
LEAST_CHANNELS = 16
"""Least number of channels: ONNX Runtime computes convolutions in blocks of 8 or 16; with fewer, a block is mostly
padding."""


def rewrite(proto: Any, precision: Precision = "float32") -> dict[str, int]:
    """Apply every rewrite that helps a precision to a model, in place, and return how often each was applied.

    Args:
        proto: an onnx.ModelProto in float32.
        precision: precision that the model will have. GPUs, the target of float16, have fast transposed convolutions;
            CPUs do not, and have none at all in 8 bits.
    """
    passes: list[Callable[[Any], int]] = [fold_scales, fold_batch_norms, unroll_first_transposed]
    if precision == "float32":
        passes.append(split_transposed_convolutions)
    if precision == "int8":
        passes.append(join_transposed_convolutions)
    done = {}
    for one in passes:
        done[one.__name__] = one(proto)
        if done[one.__name__]:
            _prune(proto)
    return done


def fold_scales(proto: Any) -> int:
    """Fold a multiplication or division by a number into the weights of the convolution that follows it.

    A scale leaves the zeros of the padding unchanged, so this is exact at the border too. An offset would not, and
    stays.
    """
    graph, count = _Graph(proto), 0
    for conv in graph.of("Conv"):
        scale = graph.producer(conv.input[0])
        if scale is None or scale.op_type not in ("Mul", "Div") or not graph.alone(scale):
            continue
        sides = [graph.constant(name) for name in scale.input]
        weights = graph.constant(conv.input[1])
        number = sides[1] if sides[1] is not None else sides[0] if scale.op_type == "Mul" else None
        if weights is None or number is None or number.size != 1 or sides[0] is not None is not sides[1]:
            continue
        factor = np.float64(number.item()) if scale.op_type == "Mul" else 1 / np.float64(number.item())
        conv.input[0] = scale.input[0 if number is sides[1] else 1]
        conv.input[1] = graph.add(weights * factor, weights.dtype, conv.input[1])
        count += 1
    return count


def fold_batch_norms(proto: Any) -> int:
    """Fold a batch norm (of inference) into the convolution, plain or transposed, before it.

    torch's exporter does this for plain convolutions only.
    """
    graph, count = _Graph(proto), 0
    for norm in graph.of("BatchNormalization"):
        conv = graph.producer(norm.input[0])
        if conv is None or conv.op_type not in ("Conv", "ConvTranspose") or not graph.alone(conv):
            continue
        transposed = conv.op_type == "ConvTranspose"
        attributes, arrays = _attributes(norm), [graph.constant(name) for name in norm.input[1:]]
        weights = graph.constant(conv.input[1])
        bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else np.zeros(1, np.float32)
        if weights is None or bias is None or any(a is None for a in arrays) or attributes.get("training_mode", 0):
            continue
        if transposed and _attributes(conv).get("group", 1) != 1:
            continue
        gamma, beta, mean, variance = (np.float64(a) for a in arrays)
        scale = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        shape = (1, -1, *(1,) * (weights.ndim - 2)) if transposed else (-1, *(1,) * (weights.ndim - 1))
        folded = graph.add(weights * scale.reshape(shape), weights.dtype, conv.input[1])
        shift = graph.add((bias - mean) * scale + beta, weights.dtype, norm.input[2])
        conv.input[:] = [conv.input[0], folded, shift]
        graph.replace(norm, norm, [conv])
        count += 1
    return count


def unroll_first_transposed(proto: Any) -> int:
    """Write a transposed convolution of one pixel as the matrix product that it is.

    ONNX Runtime multiplies image by image, and therefore reads all weights again for each pixel of the batch.
    """
    graph, count = _Graph(proto), 0
    for conv in graph.of("ConvTranspose"):
        weights, bias = _plain_transposed(graph, conv)
        if weights is None or bias is None or graph.size(conv.input[0]) != (1, 1):
            continue
        if any(_attributes(conv).get("pads", ())) or graph.size(conv.output[0]) != weights.shape[2:]:
            continue
        channels, pixels = weights.shape[1], int(np.prod(weights.shape[2:]))
        matrix = graph.add(weights.reshape(len(weights), -1), weights.dtype, conv.input[1])
        offsets = graph.add(np.repeat(bias, pixels), weights.dtype, f"{conv.input[1]}_bias")
        shape = graph.add(np.array([0, channels, *weights.shape[2:]]), np.int64, f"{conv.output[0]}_shape")
        end, activate = graph.activation(conv)
        nodes = [graph.node("Flatten", [conv.input[0]], axis=1)]
        nodes.append(graph.node("Gemm", [nodes[-1].output[0], matrix, offsets]))
        nodes += activate(nodes[-1].output[0])
        nodes.append(graph.node("Reshape", [nodes[-1].output[0], shape]))
        graph.replace(conv, end, nodes)
        count += 1
    return count


def split_transposed_convolutions(proto: Any) -> int:
    """Write a transposed convolution of kernel 4, stride 2 and padding 1 as four plain ones of kernel 2.

    Output pixels of one parity (of row and column) see two of the kernel's four rows and columns: rows 3 and 1 of the
    pixels i - 1 and i where the row is even, 2 and 0 of i and i + 1 where it is odd. Each parity is thus a convolution
    with only the necessary arithmetic, which ONNX Runtime does in its fastest layout; the four are interleaved
    with channels last, where this takes two concatenations of whole pixels.
    """
    graph, count = _Graph(proto), 0
    for conv in graph.of("ConvTranspose"):
        weights, bias, size = _doubling(graph, conv)
        if weights is None or min(weights.shape[:2]) < LEAST_CHANNELS:
            continue
        (height, width), channels = size, weights.shape[1]
        end, activate = graph.activation(conv)
        nodes: list[Any] = []
        rows: list[str] = []
        shift = graph.add(bias, weights.dtype, f"{conv.input[1]}_bias")
        row_shape = graph.add(np.array([0, height, 1, 2 * width * channels]), np.int64, f"{conv.output[0]}_row_shape")
        for p in (0, 1):
            columns = []
            for q in (0, 1):
                taps = weights[:, :, TAPS[p]][:, :, :, TAPS[q]].transpose(1, 0, 2, 3)
                name = graph.add(np.ascontiguousarray(taps), weights.dtype, f"{conv.input[1]}_{p}{q}")
                pads = [1 - p, 1 - q, p, q]
                nodes.append(graph.node("Conv", [conv.input[0], name, shift], kernel_shape=[2, 2], pads=pads))
                nodes += activate(nodes[-1].output[0])
                nodes.append(graph.node("Transpose", [nodes[-1].output[0]], perm=[0, 2, 3, 1]))
                columns.append(nodes[-1].output[0])
            nodes.append(graph.node("Concat", columns, axis=3))
            nodes.append(graph.node("Reshape", [nodes[-1].output[0], row_shape]))
            rows.append(nodes[-1].output[0])
        shape = graph.add(np.array([0, 2 * height, 2 * width, channels]), np.int64, f"{conv.output[0]}_shape")
        nodes.append(graph.node("Concat", rows, axis=2))
        nodes.append(graph.node("Reshape", [nodes[-1].output[0], shape]))
        nodes.append(graph.node("Transpose", [nodes[-1].output[0]], perm=[0, 3, 1, 2]))
        graph.replace(conv, end, nodes)
        count += 1
    return count


def join_transposed_convolutions(proto: Any) -> int:
    """Write a transposed convolution of kernel 4, stride 2 and padding 1 as one plain one of kernel 2, and a shuffle.

    Padded by 1, it gives the output rows 2j - 1 and 2j for each j from 0 to the height, and columns likewise, as
    channels; rearranged, this is the output with one extra row and column at each end, which are cut off. It computes
    slightly more than the four of `split_transposed_convolutions`, but in one call, which is faster in 8 bits.
    """
    graph, count = _Graph(proto), 0
    for conv in graph.of("ConvTranspose"):
        weights, bias, size = _doubling(graph, conv)
        if weights is None:
            continue
        channels, rows, columns = weights.shape[1], size[0] + 1, size[1] + 1
        # Row 2j - 1 is an odd one, 2j an even one; both see the input's rows j - 1 and j.
        kernels = [[weights[:, :, TAPS[p]][:, :, :, TAPS[q]] for q in (1, 0)] for p in (1, 0)]
        joined: Array = np.array(kernels).transpose(0, 1, 3, 2, 4, 5).reshape(4 * channels, -1, 2, 2)
        name = conv.input[1]
        kernel, shift = graph.add(joined, weights.dtype, name), graph.add(np.tile(bias, 4), weights.dtype, name)
        apart = graph.add(np.array([-1, rows, columns, 2, 2, channels]), np.int64, f"{name}_apart")
        whole = graph.add(np.array([-1, 2 * rows, 2 * columns, channels]), np.int64, f"{name}_whole")
        limits = ([1, 1], [2 * rows - 1, 2 * columns - 1], [1, 2])
        crop = [graph.add(np.array(limit), np.int64, f"{name}_crop") for limit in limits]
        nodes: list[Any] = []
        for kind, more, attributes in (
            ("Conv", [kernel, shift], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}),
            # Channels last, so that contiguous runs of them are moved.
            ("Transpose", [], {"perm": [0, 2, 3, 1]}),
            ("Reshape", [apart], {}),
            ("Transpose", [], {"perm": [0, 1, 3, 2, 4, 5]}),
            ("Reshape", [whole], {}),
            ("Slice", crop, {}),
            ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        ):
            source = nodes[-1].output[0] if nodes else conv.input[0]
            nodes.append(graph.node(kind, [source, *more], **attributes))
        graph.replace(conv, conv, nodes)
        count += 1
    return count


TAPS = {0: [3, 1], 1: [2, 0]}
"""Rows of the kernel that an even and an odd row of the output see, in the order of the input's rows."""


def _doubling(graph: "_Graph", conv: Any) -> tuple[Array | None, Array, tuple[int, ...]]:
    """Return weights, bias and input size of a transposed convolution of kernel 4, stride 2, padding 1; else None."""
    weights, bias = _plain_transposed(graph, conv)
    size, attributes = graph.size(conv.input[0]), _attributes(conv)
    fits = weights is not None and bias is not None and size is not None and len(size) == 2
    fits = fits and list(attributes.get("strides", ())) == [2, 2] and list(attributes.get("pads", ())) == [1, 1, 1, 1]
    if weights is None or bias is None or size is None or not fits or weights.shape[2:] != (4, 4):
        return None, np.zeros(0), ()
    return weights, bias, size


def _plain_transposed(graph: "_Graph", conv: Any) -> tuple[Array | None, Array | None]:
    """Return weights and bias of a transposed convolution without groups, dilation or output padding; else None."""
    attributes = _attributes(conv)
    weights = graph.constant(conv.input[1])
    plain = (
        attributes.get("group", 1) == 1
        and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in attributes
        and not any(attributes.get("output_padding", ()))
        and all(d == 1 for d in attributes.get("dilations", ()))
    )
    if weights is None or weights.ndim != 4 or not plain:
        return None, None
    if len(conv.input) > 2:
        return weights, graph.constant(conv.input[2])
    return weights, np.zeros(weights.shape[1], weights.dtype)


class _Graph:
    """A model's main graph by names."""

    def __init__(self, proto: Any) -> None:
        import onnx

        self._onnx, self._graph = onnx, proto.graph
        self._arrays = {tensor.name: tensor for tensor in proto.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
        self._shapes = {value.name: value.type.tensor_type.shape for value in (*inferred.value_info, *inferred.input)}
        self._shapes.update({value.name: value.type.tensor_type.shape for value in inferred.output})
        self._outer = {value.name for value in proto.graph.output}

    def of(self, kind: str) -> list[Any]:
        return [node for node in self._graph.node if node.op_type == kind]

    def producer(self, name: str) -> Any | None:
        return next((node for node in self._graph.node if name in node.output), None)

    def consumers(self, node: Any) -> list[Any]:
        # What a subgraph uses of this graph is not among the inputs of the node that holds it.
        return [other for other in _all_nodes(self._graph) if set(other.input) & set(node.output)]

    def alone(self, node: Any) -> bool:
        """Return whether exactly one node uses a node's output, once."""
        uses = [name for other in self.consumers(node) for name in other.input if name in node.output]
        return len(uses) == 1 and not self._outer & set(node.output)

    def constant(self, name: str) -> Array | None:
        if name in self._arrays:
            return np.asarray(self._onnx.numpy_helper.to_array(self._arrays[name]))
        node = self.producer(name)
        if node is not None and node.op_type == "Identity":  # torch's exporter writes equal weights once
            return self.constant(node.input[0])
        if node is None or node.op_type != "Constant":
            return None
        value = _attributes(node).get("value")
        return None if value is None else np.asarray(self._onnx.numpy_helper.to_array(value))

    def size(self, name: str) -> tuple[int, ...] | None:
        """Return the sizes of the axes after the first two, where they are known."""
        shape = self._shapes.get(name)
        if shape is None or len(shape.dim) < 3 or not all(d.HasField("dim_value") for d in shape.dim[2:]):
            return None
        return tuple(d.dim_value for d in shape.dim[2:])

    def add(self, array: Array, dtype: Any, name: str) -> str:
        """Add an array under a new name derived from the one given, and return that name."""
        name = self._fresh(name)
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array, dtype), name)
        self._graph.initializer.append(tensor)
        self._arrays[name] = tensor
        return name

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> Any:
        name = self._fresh(f"{inputs[0]}_{kind}")
        self._outer.add(name)  # taken, though not in the graph yet
        return self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes)

    def activation(self, node: Any) -> tuple[Any, Callable[[str], list[Any]]]:
        """Return the only activation that follows a node, else the node itself, and a function that copies it."""
        after = self.consumers(node)
        if not self.alone(node) or after[0].op_type not in ACTIVATIONS:
            return node, lambda name: []
        attributes = _attributes(after[0])
        return after[0], lambda name: [self.node(after[0].op_type, [name], **attributes)]

    def replace(self, first: Any, last: Any, nodes: Sequence[Any]) -> None:
        """Replace `first` and `last`, its only follower, by nodes, the last of which takes over the output's name."""
        place = list(self._graph.node).index(last)
        nodes[-1].output[0] = last.output[0]
        for offset, node in enumerate(nodes):
            if node not in self._graph.node:
                self._graph.node.insert(place + offset, node)
        for node in (first, last):
            if node in self._graph.node:
                self._graph.node.remove(node)

    def _fresh(self, name: str) -> str:
        taken = {*self._arrays, *self._outer, *(output for node in _all_nodes(self._graph) for output in node.output)}
        number, candidate = 1, name
        while candidate in taken:
            number, candidate = number + 1, f"{name}_{number}"
        return candidate


def _graphs(graph: Any) -> list[Any]:
    """Return a graph and the graphs inside its nodes."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
            found += [one for sub in inner for one in _graphs(sub)]
    return found


def _all_nodes(graph: Any) -> list[Any]:
    return [node for one in _graphs(graph) for node in one.node]


def _attributes(node: Any) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _prune(proto: Any) -> None:
    """Remove nodes and weights that nothing uses any more."""
    graph, left = proto.graph, -1
    while left != len(graph.node):
        left = len(graph.node)
        used = {name for node in _all_nodes(graph) for name in node.input}
        used |= {value.name for one in _graphs(graph) for value in one.output}
        for node in [node for node in graph.node if not used & set(node.output)]:
            graph.node.remove(node)
    for kept in (graph.initializer, graph.value_info):
        for item in [item for item in kept if item.name not in used]:
            kept.remove(item)
