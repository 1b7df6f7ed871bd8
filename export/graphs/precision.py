"""Graphs of other precisions than float32: int8 for CPUs, float16 for GPUs.

Inputs and outputs keep names, shapes and dtypes, so no host needs to know. A graph is converted only where it
gains by it:

int8
    Graphs of convolutions: static quantisation (QDQ), weights by channel, ranges of activations calibrated on sequences
    of the training split. Graphs with an LSTM: its weights are quantised beforehand and its inputs call by call
    (dynamic quantisation). Weights take 7 bits, so that no processor's 16-bit sums overflow, whatever the bundle runs
    on. Everything after the last convolution is float32, since its values are the visible result.
float16
    Graphs of convolutions. Graphs with an LSTM stay float32: ONNX Runtime crashes on float16 ones on the CPU, where
    every bundle must be provable.

The prior stays float32 in both: it reads its own output, so its error would grow step by step.
"""

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import msgspec
import numpy as np

from sdkit.export.proof.cases import generated
from sdkit.runtime.bundles.bundle import file_spec
from sdkit.runtime.bundles.specs import FileSpec, Precision
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, DataError, MissingExtraError, MissingFileError
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.run import Run

CALIBRATION_COUNT = 64
HELD_OUT_COUNT = 64
BATCH = 16
"""Number of sequences in a call of the calibration."""
SEED = 20
CONVOLUTIONS = {"Conv", "ConvTranspose"}
MOVES = {"Transpose", "Reshape", "Slice", "DepthToSpace", "Flatten"}
"""Operators that move values and change none of them."""
COMPUTING = ("Conv", "Gemm", "LeakyRelu", "Relu", "Clip")
QUANTISED = (*COMPUTING, *sorted(MOVES - {"DepthToSpace"}))
PERCENTILE = 99.999
SATURATED = 8.0
"""Bound on the input of a sigmoid: beyond it the output is within 0.0004 of 0 or 1, and a wider range would only
enlarge the quantisation step."""
OFFSET = 1_000_000
"""Number of the first sequence whose noise is used in calibration; the parity cases use smaller ones."""


class Calibration(NamedTuple):
    """Sequences (N, T, *element) in data units from the training split, and others (M, T, *element) for evaluation."""

    name: str
    """Name of the data set."""
    sequences: Array
    held_out: Array
    """Sequences of the validation split: choices and errors are never measured on test data."""


def check_precision(precision: str, format_: str) -> Precision:
    """Return the precision, checked.

    Raises:
        ConfigError: an unknown one, or one that the format does not have.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"unknown precision '{precision}'; choose {', '.join(get_args(Precision))}")
    if precision != "float32" and format_ != "onnx":
        raise ConfigError(
            f"{precision} is written as ONNX only: TorchScript graphs could not be proven on a CPU; pass --format onnx"
        )
    return cast("Precision", precision)


def calibration_of(run: Run, path: str | Path | None = None, count: int = CALIBRATION_COUNT) -> Calibration:
    """Return the sequences that a run's graphs are calibrated on, spread over the training split.

    Args:
        run: run whose training data are taken, and whose seed determines which of them were held out.
        path: sequence file to take instead; the run's training data when None.
        count: number of sequences.

    Raises:
        ConfigError: `count` below 1.
        MissingFileError: no such file.
        DataError: sequences whose elements are not the model's, or too short.
    """
    from sdkit.training.data import split_indices

    if count < 1:
        raise ConfigError(f"--calibration-count {count}: it must be at least 1")
    config = run.config
    source = Path(path) if path is not None else Path(config.data.path)
    if not source.is_file():
        advice = "pass --calibration FILE.h5" if path is None else "give an HDF5 file of sequences"
        raise MissingFileError(f"int8 needs sequences to calibrate on, but {source} does not exist; {advice}")
    file = SequenceFile(source)
    file.require(config.facts.element, f"the model of {run.path}")
    train, held = split_indices(file, config.train.val_fraction, config.train.seed)
    chosen, others = _spread(train, count), _spread(held if len(held) else train, HELD_OUT_COUNT)
    return Calibration(file.meta.name or source.name, _read(file, chosen), _read(file, others))


def _spread(index: Indices, count: int) -> Indices:
    """Return `count` entries of the index, evenly spread."""
    places = np.linspace(0, len(index) - 1, min(count, len(index))).round().astype(np.int64)
    return np.unique(np.sort(index)[places])


def _read(file: SequenceFile, index: Indices) -> Array:
    lengths = file.lengths()
    x = file.read(index)
    if lengths is not None:
        x = x[:, : max(int(lengths[index].min()), 2)]
    if x.shape[1] < 2:
        raise DataError(f"{file.path} holds sequences of {x.shape[1]} step; calibration needs 2 or more")
    return np.ascontiguousarray(x)


def graph_feeds(reference: Verbs, x: Array) -> dict[str, dict[str, Array]]:
    """Return inputs of encoder and decoder as in use, so that no verb leaves the calibrated range.

    Sequences are those of the data and some that the model generates. Codes are means, samples, those of swapped
    sequences (every static code with another's dynamic codes), and codes drawn from the prior; of a model that cannot
    encode, these last alone.
    """
    count, steps = x.shape[:2]
    steps = min(steps, reference.abilities.max_steps or steps)
    static, dynamic = reference.draw_static(count, SEED, OFFSET), reference.draw_dynamic(count, steps, SEED, OFFSET)
    if "encode" in reference.abilities.refusals:
        return {"decoder": {"static": static, "dynamic": dynamic}}
    mean, drawn = reference.encode(x), reference.encode(x, seed=SEED)
    if steps < x.shape[1]:  # codes of the prior are as long as those of the data
        mean, drawn = (Codes(codes.static, codes.dynamic[:, :steps]) for codes in (mean, drawn))
    other = np.roll(np.arange(count), 1)
    statics = (mean.static, drawn.static, mean.static, static, mean.static)
    dynamics = (mean.dynamic, drawn.dynamic, mean.dynamic[other], dynamic, dynamic)
    made = generated(reference, -(-count // 4), steps, SEED + OFFSET)
    return {
        "encoder": {"x": np.concatenate([x, made])},
        "decoder": {"static": np.concatenate(statics), "dynamic": np.concatenate(dynamics)},
    }


def convert(
    folder: Path,
    specs: Mapping[str, FileSpec],
    precision: Precision,
    feeds: Mapping[str, Mapping[str, Array]],
) -> dict[str, FileSpec]:
    """Convert, in place, the float32 ONNX files of a bundle that gain by it.

    Args:
        folder: folder of the bundle.
        specs: manifest entries of the files, by graph.
        precision: `float16` or `int8`.
        feeds: inputs of the graphs of convolutions, to calibrate int8 on.

    Returns:
        Manifest entries of all files, each with its precision.

    Raises:
        ConfigError: no graph of the model can be converted.
        MissingExtraError: a package is missing.
    """
    onnx = _onnx()
    found = {}
    for name, spec in specs.items():
        path = folder / spec.path
        proto = onnx.load(str(path))
        kinds = {node.op_type for node in proto.graph.node}
        made, how = None, ""
        if kinds & CONVOLUTIONS and precision == "float16":
            made, how = to_float16(proto), "float16"
        elif kinds & CONVOLUTIONS and precision == "int8" and name in feeds:
            made, how = quantise_static(proto, feeds[name]), "static int8"
        elif "LSTM" in kinds and precision == "int8":
            made, how = quantise_lstm(proto), "dynamic int8 LSTM"
        if made is None:
            found[name] = msgspec.structs.replace(spec, precision="float32")
            continue
        _restore(made, proto, onnx)
        onnx.save(made, str(path))
        found[name] = file_spec(
            folder,
            spec.path,
            exporter=f"{spec.exporter}, {how} by onnxruntime {_version()}",
            opset=spec.opset,
            ir_version=made.ir_version,
            precision=precision,
        )
    if all(spec.precision == "float32" for spec in found.values()):
        reason = "convolutions" if precision == "float16" else "convolutions or LSTM"
        raise ConfigError(f"{precision} would change nothing: no graph of this model has {reason}; export float32")
    return found


def to_float16(proto: Any) -> Any:
    """Return the model converted to compute in float16, with float32 outputs as before."""
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ImportError as error:
        raise MissingExtraError("float16 needs onnxruntime; pip install 'sdkit[cpu]'") from error
    onnx = _onnx()
    made = convert_float_to_float16(onnx.shape_inference.infer_shapes(proto), keep_io_types=True)
    OnnxModel.graph_topological_sort(made.graph)  # the tool puts its casts at the end
    return made


def quantise_lstm(proto: Any) -> Any | None:
    """Return the model with 8-bit LSTM weights and inputs quantised call by call; None where it has no such LSTM."""
    tools = _quantisation()
    with _work(proto) as (source, target):
        tools.quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["LSTM"],
            per_channel=True,
            reduce_range=True,
            weight_type=tools.QuantType.QInt8,
        )
        made = _onnx().load(str(target))
    # An LSTM inside a loop has no initializers for weights, and stays unchanged.
    return made if any(node.op_type == "DynamicQuantizeLSTM" for node in made.graph.node) else None


def quantise_static(proto: Any, feeds: Mapping[str, Array]) -> Any:
    """Return the model with its convolutions, and everything between them, computing in 8 bits.

    Args:
        proto: the float32 model, rewritten for int8 (`export.rewrites`).
        feeds: inputs of the model, N rows each, to calibrate on.
    """
    tools, onnx = _quantisation(), _onnx()
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    _clip_saturated(model.graph)
    pixels = _pixels(model.graph)
    with _work(onnx.shape_inference.infer_shapes(model)) as (source, target):
        overrides = _ranges(tools, source, target, model.graph, feeds)
    if pixels is not None:
        # Pixels are 8-bit numbers already: quantised with their own scale they lose nothing.
        scale, zero = np.array(pixels.scale, np.float32), np.array(0, np.uint8)
        overrides[pixels.result] = [{"scale": scale, "zero_point": zero}]
    with _work(onnx.shape_inference.infer_shapes(model)) as (source, target):
        tools.quantize_static(
            source,
            target,
            _reader(tools, _batches(feeds)),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_after_last_convolution(model.graph),
            per_channel=True,
            reduce_range=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": overrides},
        )
        made = onnx.load(str(target))
    if pixels is not None:
        _feed_pixels(made.graph, pixels)
    return made


def _ranges(
    tools: Any, source: str, target: str, graph: Any, feeds: Mapping[str, Array]
) -> dict[str, list[dict[str, Any]]]:
    """Return the range of each operator's outputs, without the few values in a million that lie outside it.

    Those few would enlarge the quantisation step of all others. Batches go one by one: only histograms are kept.
    """
    calibrator = tools.create_calibrator(
        source,
        list(COMPUTING),
        augmented_model_path=target,
        calibrate_method=tools.CalibrationMethod.Percentile,
        extra_options={"percentile": PERCENTILE, "num_bins": 2048},
    )
    for batch in _batches(feeds):
        calibrator.collect_data(_reader(tools, [batch]))
    found = calibrator.compute_data()
    made = {output for node in graph.node if node.op_type in COMPUTING for output in node.output}
    limits = {name: found[name].range_value for name in found.keys() if name in made}  # noqa: SIM118
    return {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for name, (low, high) in limits.items()
        if np.isfinite([low, high]).all() and low < high
    }


class _Pixels(NamedTuple):
    """The point in a graph where uint8 data become float32 values, `result` = `scale` * pixels."""

    source: str
    """Name of the uint8 tensor."""
    result: str
    scale: float


def _pixels(graph: Any) -> _Pixels | None:
    """Return where a graph of uint8 images converts them to float32: a Cast, and a division or product after it."""
    from onnx import TensorProto, numpy_helper

    if [value.type.tensor_type.elem_type for value in graph.input] != [TensorProto.UINT8]:
        return None
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    constants |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    casts = [n for n in graph.node if n.op_type == "Cast" and _from_input(graph, n.input[0])]
    if len(casts) != 1:
        return None
    result, scale = casts[0].output[0], 1.0
    readers = [node for node in graph.node if result in node.input]
    if len(readers) == 1 and readers[0].op_type in ("Div", "Mul") and readers[0].input[0] == result:
        factor = constants.get(readers[0].input[1])
        if factor is None or factor.size != 1 or not float(factor.reshape(-1)[0]) > 0:
            return None
        scale = float(factor.reshape(-1)[0])
        result, scale = readers[0].output[0], 1 / scale if readers[0].op_type == "Div" else scale
    return _Pixels(casts[0].input[0], result, scale)


def _from_input(graph: Any, name: str) -> bool:
    """Return whether a tensor is the graph's first input, moved at most."""
    made = {output: node for node in graph.node for output in node.output}
    while name in made and made[name].op_type in MOVES:
        name = made[name].input[0]
    return bool(name == graph.input[0].name)


def _feed_pixels(graph: Any, pixels: _Pixels) -> None:
    """Feed pixels directly to the operators that dequantise them, without conversion to float32 and back."""
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == pixels.result:
            quantised = node.output[0]
            for reader in graph.node:
                for place, name in enumerate(reader.input):
                    if name == quantised:
                        reader.input[place] = pixels.source
    wanted = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if not wanted & set(node.output):
            graph.node.remove(node)
        else:
            wanted |= {name for name in node.input if name}


def _clip_saturated(graph: Any) -> None:
    """Clip the input of a sigmoid, at its source, before values are moved: calibration then finds a narrow range."""
    from onnx import helper, numpy_helper

    made = {output: node for node in graph.node for output in node.output}
    for node in [node for node in graph.node if node.op_type == "Sigmoid"]:
        source = node.input[0]
        while source in made and made[source].op_type in MOVES:
            source = made[source].input[0]
        if source not in made or made[source].op_type != "Conv":
            continue
        limits = [f"{source}_low", f"{source}_high"]
        for name, value in zip(limits, (-SATURATED, SATURATED), strict=True):
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
        clipped = f"{source}_clipped"
        for reader in graph.node:
            for place, name in enumerate(reader.input):
                if name == source:
                    reader.input[place] = clipped
        place = list(graph.node).index(made[source])
        graph.node.insert(place + 1, helper.make_node("Clip", [source, *limits], [clipped], f"Clip_{source}"))


def _after_last_convolution(graph: Any) -> list[str]:
    """Return the names of nodes after the last convolution that change values; moving 8-bit values is cheaper."""
    nodes = list(graph.node)
    last = max(place for place, node in enumerate(nodes) if node.op_type in CONVOLUTIONS)
    inside = set(nodes[last].output)
    excluded = []
    for node in nodes[last + 1 :]:
        if node.op_type in (*MOVES, "Clip") and node.input[0] in inside:
            inside |= set(node.output)
        else:
            excluded.append(node.name)
    return excluded


def _batches(feeds: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    count = len(next(iter(feeds.values())))
    for i in range(0, count, BATCH):
        yield {name: array[i : i + BATCH] for name, array in feeds.items()}


def _reader(tools: Any, batches: Iterable[dict[str, Array]]) -> Any:
    left = iter(batches)

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(left, None)

    return Reader()


def _restore(made: Any, before: Any, onnx: Any) -> None:
    """Restore in a converted model what hosts read: tensors of the contract, metadata, and a supported IR version."""
    for values, wanted in ((made.graph.input, before.graph.input), (made.graph.output, before.graph.output)):
        del values[:]
        values.extend(wanted)
    # What the tools infer about inner tensors is of no use to a host.
    del made.graph.value_info[:]
    del made.metadata_props[:]
    made.metadata_props.extend(before.metadata_props)
    made.ir_version, made.producer_name = before.ir_version, before.producer_name
    made.producer_version = before.producer_version
    onnx.checker.check_model(made, full_check=True)


@contextmanager
def _work(proto: Any) -> Iterator[tuple[str, str]]:
    """Yield paths of a model and of a tool's output, and silence the tool's log."""
    level = logging.root.manager.disable
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "from.onnx", Path(folder) / "to.onnx"
        _onnx().save(proto, str(source))
        logging.disable(logging.WARNING)
        try:
            with redirect_stdout(io.StringIO()):
                yield str(source), str(target)
        finally:
            logging.disable(level)


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx is not installed; pip install 'sdkit[train]'") from error
    return onnx


def _quantisation() -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingExtraError("int8 needs onnxruntime; pip install 'sdkit[cpu]'") from error
    return quantization


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
