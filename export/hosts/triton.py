"""`write_triton`: a model repository for NVIDIA Triton Inference Server.

Every graph of a bundle becomes a model of its name, and every verb that the bundle has, except decode (which is the
decoder itself), an ensemble that joins them on the server: the graphs of `contract.VERBS`, fed by name as in any host.
The step graph keeps the state of a live stream as Triton's implicit state, so a client sends only elements and the id
of their sequence.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import GraphSpec, TensorSpec
from sdkit.runtime.contract import DYNAMIC_POSTERIOR, MEANS, STATIC_PRIOR, STEP, VERBS, Ports
from sdkit.runtime.errors import BundleError, ConfigError
from sdkit.runtime.storage.output import check_output, replacing

CONFIG, VERSION, NOTE = "config.pbtxt", "1", "README.md"
TITLE = "# Models of sdkit for NVIDIA Triton Inference Server"
TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
STATE = ("state", "next_state")
"""Input and output of the step graph that the server keeps and no client sees."""
STATIC_NOISE, DYNAMIC_NOISE = "static_noise", "dynamic_noise"
"""Names for clients of the noise (B, S) of static codes and (B, T, D) of dynamic codes."""
ENCODE_DYNAMIC = "encode_dynamic"
"""Name of a further ensemble: dynamic codes given a static code that the client has drawn."""
DELAY_MICROSECONDS = 1000
"""Longest time that a request waits for others to share its batch."""
IDLE_MICROSECONDS = 60_000_000
"""Time without an element after which a stream's state is dropped."""


class Call(NamedTuple):
    """A step of an ensemble: a model, and the names of its tensors in the ensemble."""

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class Ensemble(NamedTuple):
    """A verb: steps in the order of execution, and those of their outputs that a client receives."""

    calls: tuple[Call, ...]
    outputs: tuple[str, ...]
    steps: int = -1
    """Number of steps T, where it is fixed; -1 for any."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that a client sends: inputs that no call computes."""
        made = {ours for call in self.calls for ours in call.outputs.values()}
        taken = (ours for call in self.calls for ours in call.inputs.values())
        return tuple(dict.fromkeys(ours for ours in taken if ours not in made))


class Plan:
    """An ensemble in the making: calls, and the names of the pool's tensors in it.

    Args:
        ports: names of what every graph takes and returns.
        pool: tensors that a client sends, and their names in the ensemble.
        suffix: suffix of the names of all computed tensors.
    """

    def __init__(self, ports: Mapping[str, Ports], pool: Mapping[str, str], suffix: str = "") -> None:
        self.ports, self.pool, self.suffix = ports, dict(pool), suffix
        self.calls: list[Call] = []

    def call(self, *graphs: str) -> "Plan":
        """Run graphs on the pool and add their outputs to it; a mean stands for its code where there is none yet."""
        for graph in graphs:
            taken, given = self.ports[graph]
            outputs = {name: name + self.suffix for name in given if name not in STATE}
            self.calls.append(Call(graph, {name: self.pool[name] for name in taken if name not in STATE}, outputs))
            self.pool |= outputs
            for mean, code in MEANS.items():
                if mean in outputs:
                    self.pool.setdefault(code, outputs[mean])
        return self

    def draw_static(self) -> "Plan":
        """Draw the static code from the prior: N(0, I) unless there is a graph."""
        self.pool["static"] = STATIC_NOISE
        if STATIC_PRIOR in self.ports:
            self.calls.append(Call(STATIC_PRIOR, {"noise": STATIC_NOISE}, {"static": "static"}))
            self.pool["static"] = "static"
        return self

    def decode(self, static: str, dynamic: str, decoded: str = "decoded") -> "Plan":
        """Decode codes of these names."""
        (taken, given), codes = self.ports["decoder"], {"static": static, "dynamic": dynamic}
        outputs = {"x": decoded, "x_std": f"{decoded}_std"}
        inputs = {name: codes[name] for name in taken}
        self.calls.append(Call("decoder", inputs, {name: outputs[name] for name in given}))
        return self

    def ensemble(self, *outputs: str, steps: int = -1) -> Ensemble:
        """Return the ensemble of those of these outputs that exist, without the calls that they do not need."""
        made = {ours for call in self.calls for ours in call.outputs.values()}
        outputs = tuple(name for name in outputs if name in made)
        used, calls = set(outputs), []
        for call in reversed(self.calls):
            if used & set(call.outputs.values()):
                calls.append(call)
                used |= set(call.inputs.values())
        return Ensemble(tuple(reversed(calls)), outputs, steps)


CODES = ("static_mean", "static_std", "dynamic_mean", "dynamic_std")
"""Outputs of `encode`: a client draws static_mean + static_std * noise, and the dynamic codes likewise unless there is
an ensemble `encode_dynamic`."""
DECODED = ("decoded", "decoded_std")
"""Outputs of verbs that decode; only some kinds have `x_std`."""


def ensembles(manifest: Manifest) -> dict[str, Ensemble]:
    """Return an ensemble for every verb that a bundle has except decode, by name."""
    ports = manifest.ports
    made = {verb: _ensemble(verb, ports) for verb in manifest.capabilities if verb != "decode"}
    correlated = DYNAMIC_POSTERIOR in ports
    if "encode" in made and (correlated or "static" in ports["dynamic"].inputs):
        plan = Plan(ports, {"x": "x", "static": "static", "noise": DYNAMIC_NOISE})
        plan.call("encoder", "static", DYNAMIC_POSTERIOR if correlated else "dynamic")
        made[ENCODE_DYNAMIC] = plan.ensemble(*(["dynamic"] if correlated else ["dynamic_mean", "dynamic_std"]))
    return made


def _ensemble(verb: str, ports: Mapping[str, Ports]) -> Ensemble:
    """Return the ensemble of a verb: its graphs over a pool, the static code drawn where the verb draws it."""
    graphs = VERBS[verb].graphs
    if verb == "swap":
        return _swap(ports)
    if verb == "encode":
        return Plan(ports, {"x": "x"}).call(*graphs).ensemble(*CODES)
    plan = Plan(ports, {"x": "x", "noise": DYNAMIC_NOISE, "element_features": "features"}).call(*graphs[:-1])
    if verb in ("generate", "resample_static"):
        plan.draw_static()
    plan.decode(plan.pool["static"], plan.pool["dynamic"])
    if verb == "stream":
        return plan.ensemble(*MEANS, *DECODED, steps=1)
    return plan.ensemble(*DECODED)


def _swap(ports: Mapping[str, Ports]) -> Ensemble:
    *encode, _ = VERBS["swap"].graphs
    a, b = (Plan(ports, {"x": name}, f"_{name}").call(*encode) for name in "ab")
    both = Plan(ports, {})
    both.calls = [*a.calls, *b.calls]
    both.decode(a.pool["static"], b.pool["dynamic"], "a_with_b").decode(b.pool["static"], a.pool["dynamic"], "b_with_a")
    return both.ensemble("a_with_b", "a_with_b_std", "b_with_a", "b_with_a_std")


def write_triton(bundle: Bundle, folder: str | Path, *, max_batch_size: int = 64, force: bool = False) -> Path:
    """Write a model repository: one model for each graph, one ensemble for each verb, each with its config.pbtxt.

    Args:
        bundle: bundle with ONNX graphs.
        folder: folder to write.
        max_batch_size: largest number of sequences that the server may run at a time.
        force: replace an existing repository.

    Raises:
        BundleError: no ONNX graphs.
        OutputExistsError: the folder exists and `force` is off.
        ConfigError: max_batch_size < 1, or the folder exists and holds something other than such a repository.
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
        for name, ensemble in ensembles(bundle.manifest).items():
            version = _model(temporary, name, ensemble_config(name, ensemble, graphs, max_batch_size))
            # Without a version folder there is no model, and object stores keep no empty folder.
            (version / ".keep").write_bytes(b"")
        (temporary / NOTE).write_text(_note(bundle.manifest), "utf-8")
    return target


def is_repository(folder: Path) -> bool:
    """Return whether a folder is one that `write_triton` wrote."""
    note = folder / NOTE
    return note.is_file() and note.read_bytes().startswith(TITLE.encode()) and any(folder.glob(f"*/{CONFIG}"))


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
    """Return a tensor's axes without the batch; a free one is `steps`, -1 where any length is allowed."""
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
    variant = f", variant {manifest.variant}" if manifest.variant else ""
    lines = [
        TITLE,
        "",
        "    tritonserver --model-repository THIS_FOLDER",
        "",
        f"Method {manifest.method}{variant}. Sequences are (B, T, {', '.join(map(str, element.shape))}) "
        f"{element.dtype}, T >= 2; S = {widths.static_size}, D = {widths.dynamic_size}.",
        "Noise is an input, drawn by the client as sdkit's docs/bundle.md says. A client checks values as sdkit's",
        "hosts do: the graphs take what they get.",
        "",
        f"Models: {', '.join(manifest.graphs)}.",
        "",
        "Ensembles:",
        "",
        *[f"- {name}: {_given(one)}" for name, one in ensembles(manifest).items()],
        "",
        *_particulars(manifest),
        f"Made by sdkit {provenance.sdkit_version} from weights {provenance.weights_sha256}, data {provenance.data}",
        f"(licence: {provenance.data_licence or 'not stated'}).",
    ]
    return _text(lines)


def _given(ensemble: Ensemble) -> str:
    return f"from {', '.join(ensemble.inputs)} to {', '.join(ensemble.outputs)}"


def _particulars(manifest: Manifest) -> list[str]:
    """Return paragraphs on what this bundle has beside the verbs, and on what it does not have."""
    lines, dynamic = [], ensembles(manifest).get(ENCODE_DYNAMIC)
    if STATIC_PRIOR in manifest.graphs:
        lines += [f"Static codes are drawn by the model {STATIC_PRIOR} from noise (B, S): their prior is not N(0, I)."]
    if dynamic is not None:
        drawn = "; static is the static code that it has drawn" if "static" in dynamic.inputs else ""
        lines += [f"A client that samples draws the dynamic codes with {ENCODE_DYNAMIC}{drawn}."]
    if manifest.max_steps is not None:
        lines += [f"The prior draws at most {manifest.max_steps} steps; the client checks it."]
    refused = [f"- {verb}: {reason}" for verb, reason in manifest.refusals.items()]
    cannot = ["What this model cannot do, and why:", "", *refused] if refused else []
    return [line for paragraph in (lines, cannot) if paragraph for line in (*paragraph, "")]
