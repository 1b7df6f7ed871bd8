"""`write_triton`: a model repository for NVIDIA Triton Inference Server.

Every graph of a bundle becomes a model of its name, and every verb but decode (which the decoder is) an ensemble that
joins them on the server. The step graph keeps the state of a live stream as Triton's implicit state, so that a client
sends elements and the id of their sequence, nothing else.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import GraphSpec, TensorSpec
from sdkit.runtime.contract import STEP
from sdkit.runtime.errors import BundleError, ConfigError
from sdkit.runtime.storage.output import check_output, replacing

CONFIG, VERSION, NOTE = "config.pbtxt", "1", "README.md"
TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
STATE = ("state", "next_state")
"""Input and output of the step graph that the server keeps and no client sees."""
DELAY_MICROSECONDS = 1000
"""How long a request may wait for others to share its batch."""
IDLE_MICROSECONDS = 60_000_000
"""After how long without an element a stream's state is dropped."""


class Call(NamedTuple):
    """A step of an ensemble: a model, and what its tensors are called in the ensemble."""

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class Ensemble(NamedTuple):
    """A verb: steps in the order of the data's way, and which of their outputs a client gets."""

    calls: tuple[Call, ...]
    outputs: tuple[str, ...]
    steps: int = -1
    """T, where it is fixed."""


def _encoding(x: str = "x", suffix: str = "") -> tuple[Call, ...]:
    """Return the calls that encode, from (B, T, *element) to `static_mean`, `dynamic_mean` and their like."""
    features, hidden = f"features{suffix}", f"static_hidden{suffix}"
    static = {name: name + suffix for name in ("static_mean", "static_std")}
    dynamic = {name: name + suffix for name in ("dynamic_mean", "dynamic_std")}
    return (
        Call("encoder", {"x": x}, {"features": features}),
        Call("static", {"features": features}, {**static, "static_hidden": hidden}),
        Call("dynamic", {"features": features, "static_hidden": hidden}, dynamic),
    )


def _decoding(static: str, dynamic: str, decoded: str = "decoded") -> Call:
    return Call("decoder", {"static": static, "dynamic": dynamic}, {"x": decoded, "x_std": f"{decoded}_std"})


_PRIOR = Call("prior", {"noise": "dynamic_noise"}, {"dynamic": "dynamic_sample"})
_STREAM = (
    Call("encoder", {"x": "x"}, {"features": "features"}),
    Call(STEP, {"element_features": "features"}, {name: name for name in ("static_mean", "dynamic_mean")}),
    _decoding("static_mean", "dynamic_mean"),
)
ENSEMBLES = {
    "encode": Ensemble(_encoding(), ("static_mean", "static_std", "dynamic_mean", "dynamic_std")),
    "reconstruct": Ensemble((*_encoding(), _decoding("static_mean", "dynamic_mean")), ("decoded", "decoded_std")),
    "swap": Ensemble(
        (
            *_encoding("a", "_a"),
            *_encoding("b", "_b"),
            _decoding("static_mean_a", "dynamic_mean_b", "a_with_b"),
            _decoding("static_mean_b", "dynamic_mean_a", "b_with_a"),
        ),
        ("a_with_b", "a_with_b_std", "b_with_a", "b_with_a_std"),
    ),
    "generate": Ensemble((_PRIOR, _decoding("static_noise", "dynamic_sample")), ("decoded", "decoded_std")),
    "resample_static": Ensemble((*_encoding(), _decoding("static_noise", "dynamic_mean")), ("decoded", "decoded_std")),
    "resample_dynamic": Ensemble(
        (*_encoding()[:2], _PRIOR, _decoding("static_mean", "dynamic_sample")), ("decoded", "decoded_std")
    ),
    "stream": Ensemble(_STREAM, ("static_mean", "dynamic_mean", "decoded", "decoded_std"), steps=1),
}
"""Outputs that a bundle's graphs do not have (`x_std` is of series alone) are left out."""


def write_triton(bundle: Bundle, folder: str | Path, *, max_batch_size: int = 64, force: bool = False) -> Path:
    """Write a model repository: a model a graph, an ensemble a verb, each with its config.pbtxt.

    Args:
        bundle: it must hold ONNX graphs.
        folder: to write.
        max_batch_size: sequences that the server may run at a time.
        force: replace an existing repository.

    Raises:
        BundleError: no ONNX graphs.
        OutputExistsError: the folder exists and `force` is off.
        ConfigError: max_batch_size < 1, or the folder exists and holds something else than such a repository.
    """
    if max_batch_size < 1:
        raise ConfigError(f"max_batch_size = {max_batch_size}; it must be at least 1")
    if "onnx" not in bundle.manifest.formats:
        raise BundleError(f"{bundle.path} holds no onnx graphs, which Triton runs; `sdkit export --format onnx`")
    target = check_output(folder, force=force)
    if target.exists() and not is_repository(target):
        raise ConfigError(f"{target} exists and is no Triton repository of sdkit; it is not replaced, choose another")
    with replacing(target, force=force) as temporary:
        graphs = bundle.manifest.graphs
        for name, graph in graphs.items():
            version = _model(temporary, name, graph_config(name, graph, max_batch_size))
            shutil.copyfile(bundle.graph_file(name, "onnx"), version / "model.onnx")
        for name, ensemble in ENSEMBLES.items():
            if all(call.model in graphs for call in ensemble.calls):
                version = _model(temporary, name, ensemble_config(name, ensemble, graphs, max_batch_size))
                # Without a version folder there is no model, and stores of objects keep no empty folder.
                (version / ".keep").write_bytes(b"")
        (temporary / NOTE).write_text(_note(bundle.manifest), "utf-8")
    return target


def is_repository(folder: Path) -> bool:
    """Return whether a folder is one that `write_triton` wrote."""
    return all((folder / name).is_file() for name in (NOTE, f"encode/{CONFIG}", f"encoder/{VERSION}/model.onnx"))


def graph_config(name: str, graph: GraphSpec, max_batch_size: int) -> str:
    """Return config.pbtxt of a graph; the first axis of every tensor is the batch, which `dims` leaves out."""
    state = [tensor for tensor in graph.inputs if name == STEP and tensor.name == STATE[0]]
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {max_batch_size}"]
    lines += _tensors("input", (tensor for tensor in graph.inputs if tensor not in state))
    lines += _tensors("output", (tensor for tensor in graph.outputs if not state or tensor.name != STATE[1]))
    return _text([*lines, *(_sequences(state[0], max_batch_size) if state else _merged())])


def ensemble_config(name: str, ensemble: Ensemble, graphs: Mapping[str, GraphSpec], max_batch_size: int) -> str:
    """Return config.pbtxt of a verb."""
    used = {*ensemble.outputs, *(ours for call in ensemble.calls for ours in call.inputs.values())}
    inputs: dict[str, TensorSpec] = {}
    made: dict[str, TensorSpec] = {}
    calls = []
    for call in ensemble.calls:
        graph = graphs[call.model]
        specs = {tensor.name: tensor for tensor in graph.inputs}
        for theirs, ours in call.inputs.items():
            if ours not in made:
                inputs[ours] = specs[theirs]
        named = {tensor.name: call.outputs.get(tensor.name) for tensor in graph.outputs}
        outputs = {theirs: ours for theirs, ours in named.items() if ours in used}
        made |= {outputs[tensor.name]: tensor for tensor in graph.outputs if tensor.name in outputs}
        calls.append(call._replace(outputs=outputs))
    given = {name: made[name] for name in ensemble.outputs if name in made}
    lines = [f'name: "{name}"', 'platform: "ensemble"', f"max_batch_size: {max_batch_size}"]
    lines += _tensors("input", inputs.values(), inputs, ensemble.steps)
    lines += _tensors("output", given.values(), given, ensemble.steps)
    lines += ["ensemble_scheduling {", *(f"  {line}" for call in calls for line in _step(call)), "}"]
    return _text(lines)


def _step(call: Call) -> list[str]:
    maps = [
        f'  {kind}_map {{ key: "{theirs}" value: "{ours}" }}'
        for kind, names in (("input", call.inputs), ("output", call.outputs))
        for theirs, ours in names.items()
    ]
    return ["step {", f'  model_name: "{call.model}"', "  model_version: -1", *maps, "}"]


def _merged() -> list[str]:
    return ["dynamic_batching {", f"  max_queue_delay_microseconds: {DELAY_MICROSECONDS}", "}"]


def _sequences(state: TensorSpec, max_batch_size: int) -> list[str]:
    dtype, dims = TYPES[state.dtype], _dims(state)
    return [
        "sequence_batching {",
        f"  max_sequence_idle_microseconds: {IDLE_MICROSECONDS}",
        f"  oldest {{ max_candidate_sequences: {max_batch_size} max_queue_delay_microseconds: {DELAY_MICROSECONDS} }}",
        "  state {",
        f'    input_name: "{STATE[0]}"',
        f'    output_name: "{STATE[1]}"',
        f"    data_type: {dtype}",
        f"    dims: {dims}",
        # A row of zeros begins a stream.
        f'    initial_state {{ name: "begin" data_type: {dtype} dims: {dims} zero_data: true }}',
        "  }",
        "}",
    ]


def _tensors(
    kind: str, tensors: Iterable[TensorSpec], names: Iterable[str] | None = None, steps: int = -1
) -> list[str]:
    tensors = list(tensors)
    shown = [tensor.name for tensor in tensors] if names is None else list(names)
    return [
        f'{kind} {{ name: "{name}" data_type: {TYPES[tensor.dtype]} dims: {_dims(tensor, steps)} }}'
        for name, tensor in zip(shown, tensors, strict=True)
    ]


def _dims(tensor: TensorSpec, steps: int = -1) -> list[int]:
    """Return a tensor's axes but the batch; a free one is `steps`, -1 where any length will do."""
    return [axis if isinstance(axis, int) else steps for axis in tensor.shape[1:]]


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _model(root: Path, name: str, config: str) -> Path:
    """Write a model's configuration, and return the folder of its one version."""
    version = root / name / VERSION
    version.mkdir(parents=True)
    (root / name / CONFIG).write_text(config, "utf-8")
    return version


def _note(manifest: Manifest) -> str:
    element, widths, provenance = manifest.element, manifest.widths, manifest.provenance
    ensembles = ", ".join(name for name, one in ENSEMBLES.items() if all(c.model in manifest.graphs for c in one.calls))
    return f"""# Models of sdkit for NVIDIA Triton Inference Server

    tritonserver --model-repository THIS_FOLDER

Sequences are (B, T, {", ".join(map(str, element.shape))}) {element.dtype}, T >= 2; S = {widths.static_size}, \
D = {widths.dynamic_size}. Noise is an input, drawn by the client as sdkit's docs/bundle.md says.
A client checks values as sdkit's hosts do: the graphs take what they get.

Models: {", ".join(manifest.graphs)}.
Ensembles: {ensembles}.

Made by sdkit {provenance.sdkit_version} from weights {provenance.weights_sha256}, data {provenance.data}
(licence: {provenance.data_licence or "not stated"}).
"""
