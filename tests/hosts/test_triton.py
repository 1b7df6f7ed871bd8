"""The Triton repository: parsed as Triton parses it, held against the graphs, and run as Triton would run it.

Triton itself needs a container of its own and does not run here: the server's part is played by ONNX Runtime over the
parsed configurations.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.export.hosts.triton import ensembles, write_triton
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.contract import DYNAMIC_POSTERIOR, STATIC_PRIOR, STEP, VERBS
from sdkit.runtime.element import Array
from sdkit.runtime.errors import BundleError, ConfigError, OutputExistsError
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.runtime import Runtime
from tests.export.runs import lively_model, quick_export, write_run
from tests.hosts.every_method import MODELS, clips
from tests.hosts.golden import KEPT, SERIES
from tests.hosts.triton_schema import MESSAGES, parse

MOST = 8
DTYPES = {"TYPE_FP32": np.float32, "TYPE_UINT8": np.uint8}
ONNX_TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.UINT8: "TYPE_UINT8"}


class Server:
    """What Triton does with a repository, as far as its configurations say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configs = {path.parent.name: parse(path.read_text()) for path in sorted(folder.glob("*/config.pbtxt"))}
        self.sessions = {
            name: onnxruntime.InferenceSession(folder / name / "1" / "model.onnx")
            for name, config in self.configs.items()
            if config.backend == "onnxruntime"
        }
        self.states: dict[str, Array] = {}

    def infer(
        self, name: str, inputs: Mapping[str, Array], sequence: tuple[str, ...] | None = None
    ) -> dict[str, Array]:
        """Run a model or an ensemble on a batch; a row of it belongs to a sequence each, where there are sequences."""
        config = self.configs[name]
        assert set(inputs) == {tensor.name for tensor in config.input}
        for tensor in config.input:
            self._check(config, tensor, inputs[tensor.name])
        outputs = self._ensemble(config, inputs, sequence) if config.platform else self._model(config, inputs, sequence)
        assert {tensor.name for tensor in config.output} <= set(outputs)
        for tensor in config.output:
            self._check(config, tensor, outputs[tensor.name])
        return {tensor.name: outputs[tensor.name] for tensor in config.output}

    def _check(self, config: Any, tensor: Any, value: Array) -> None:
        assert value.dtype == DTYPES[name_of(tensor)], tensor.name
        assert 1 <= len(value) <= config.max_batch_size
        assert value.ndim == 1 + len(tensor.dims), tensor.name
        assert all(axis in (-1, size) for axis, size in zip(tensor.dims, value.shape[1:], strict=True)), tensor.name

    def _model(self, config: Any, inputs: Mapping[str, Array], sequence: tuple[str, ...] | None) -> dict[str, Array]:
        feeds = dict(inputs)
        states = config.sequence_batching.state
        assert bool(states) == (sequence is not None and config.name == STEP)
        for state in states:
            begin = np.zeros(tuple(state.dims), DTYPES[name_of(state)])
            feeds[state.input_name] = np.stack([self.states.get(one, begin) for one in sequence or ()])
        session = self.sessions[config.name]
        names = [output.name for output in session.get_outputs()]
        made = dict(zip(names, session.run(names, feeds), strict=True))
        for state in states:
            self.states |= dict(zip(sequence or (), made.pop(state.output_name), strict=True))
        return made

    def _ensemble(self, config: Any, inputs: Mapping[str, Array], sequence: tuple[str, ...] | None) -> dict[str, Array]:
        known = dict(inputs)
        for step in config.ensemble_scheduling.step:
            feeds = {theirs: known[ours] for theirs, ours in step.input_map.items()}
            stateful = bool(self.configs[step.model_name].sequence_batching.state)
            made = self.infer(step.model_name, feeds, sequence if stateful else None)
            known |= {ours: made[theirs] for theirs, ours in step.output_map.items()}
        return known


def name_of(tensor: Any) -> str:
    """Return the name of a tensor's data type."""
    return str(tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name)


def close(found: Array, expected: Array, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=atol)


NAMES = ("format 1", "series", *MODELS)
GREY = 0.0255
"""Tolerance of decoded data."""


def make(name: str, folder: Path, every: Path) -> Bundle:
    """Return a bundle: one of format 1, one of series, and one of each method."""
    if name == "format 1":
        kept = [Bundle.open(path.parent) for path in sorted(KEPT.glob("*/manifest.json"))]
        return next(bundle for bundle in kept if bundle.manifest.version == 1)
    if name == "series":
        return quick_export(write_run(folder / "run", lively_model(**SERIES)))
    return Bundle.open(every / name)


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(name: str, set_of_every_method: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make(name, tmp_path_factory.mktemp("bundle"), set_of_every_method)


@pytest.fixture(scope="module")
def repository(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_triton(bundle, tmp_path_factory.mktemp("triton") / "models", max_batch_size=MOST)


@pytest.fixture(scope="module")
def server(repository: Path) -> Server:
    return Server(repository)


@pytest.fixture(scope="module")
def rt(bundle: Bundle) -> Runtime:
    return Runtime.open(bundle.path, device="cpu", threads=1)


@pytest.fixture(scope="module")
def x(rt: Runtime) -> Array:
    return clips(rt, 4)


def has(server: Server, rt: Runtime, verb: str) -> bool:
    """Return whether the bundle has a verb; where it has not, the repository has no ensemble of it."""
    refused = verb in rt.abilities.refusals
    assert refused == (verb not in server.configs)
    return not refused


def noises(rt: Runtime, seed: int, static: Purpose, dynamic: Purpose, x: Array) -> tuple[Array, Array]:
    """Return the noise of static and dynamic codes."""
    widths = rt.widths
    return (
        standard_normal(seed, static, 0, (len(x), widths.static_size)),
        standard_normal(seed, dynamic, 0, (len(x), x.shape[1], widths.dynamic_size)),
    )


def test_every_model_has_its_graph_and_every_verb_an_ensemble(name: str, repository: Path, bundle: Bundle) -> None:
    manifest = bundle.manifest
    for graph in manifest.graphs:
        content = (repository / graph / "1" / "model.onnx").read_bytes()
        assert content == bundle.graph_file(graph, "onnx").read_bytes()
    verbs = {verb for verb in VERBS if verb not in ("decode", *manifest.refusals)}
    extra = {"encode_dynamic"} if name in SAMPLING else set()
    assert {path.name for path in repository.iterdir()} == {*manifest.graphs, *verbs, *extra, "README.md"}
    assert set(ensembles(manifest)) == verbs | extra
    for ensemble in (*verbs, *extra):
        assert (repository / ensemble / "1").is_dir()


def test_no_ensemble_runs_a_model_in_vain(server: Server, name: str, x: Array) -> None:
    steps = {
        verb: [step.model_name for step in config.ensemble_scheduling.step]
        for verb, config in server.configs.items()
        if config.platform
    }
    encode = ["encoder", "static", "dynamic"]
    if name in ("generator", "mocogan"):
        assert steps == {"generate": ["prior", "decoder"]}
    elif name in ("gpvae", "vae"):
        sampled = {"encode_dynamic": ["encoder", DYNAMIC_POSTERIOR]} if name == "gpvae" else {}
        assert {key: value for key, value in steps.items() if key != "stream"} == {
            "encode": encode,
            **sampled,
            "reconstruct": ["encoder", "dynamic", "decoder"],
            "generate": ["prior", "decoder"],
            "resample_dynamic": ["prior", "decoder"],
        }
    elif name == "skd":
        assert steps == {
            "encode": encode,
            "reconstruct": [*encode, "decoder"],
            "swap": [*encode, *encode, "decoder", "decoder"],
            "generate": ["prior", STATIC_PRIOR, "decoder"],
            "resample_static": ["encoder", "dynamic", STATIC_PRIOR, "decoder"],
            "resample_dynamic": ["encoder", "static", "prior", "decoder"],
        }
    else:
        assert steps["reconstruct"] == [*encode, "decoder"]


def test_tensors_are_those_of_the_graph(server: Server, bundle: Bundle) -> None:
    for graph in bundle.manifest.graphs:
        check_tensors(server, graph)


def check_tensors(server: Server, graph: str) -> None:
    config, model = server.configs[graph], onnx.load(server.folder / graph / "1" / "model.onnx")
    assert (config.name, config.backend, config.max_batch_size) == (graph, "onnxruntime", MOST)
    state = [*config.sequence_batching.state]
    for sort, hidden in (("input", {s.input_name for s in state}), ("output", {s.output_name for s in state})):
        configured = {t.name: (name_of(t), tuple(t.dims)) for t in getattr(config, sort)}
        actual = {}
        for value in getattr(model.graph, sort):
            batch, *axes = value.type.tensor_type.shape.dim
            assert batch.dim_param == "B"
            dims = tuple(-1 if axis.dim_param else axis.dim_value for axis in axes)
            actual[value.name] = (ONNX_TYPES[value.type.tensor_type.elem_type], dims)
        kept = {s.input_name if sort == "input" else s.output_name: (name_of(s), tuple(s.dims)) for s in state}
        assert configured == {key: value for key, value in actual.items() if key not in hidden}
        assert kept == {key: value for key, value in actual.items() if key in hidden}
    assert config.HasField("dynamic_batching") == (graph != STEP)


def test_streams_begin_at_zero_and_are_batched(server: Server, rt: Runtime) -> None:
    if not has(server, rt, "stream"):
        return
    batching = server.configs[STEP].sequence_batching
    (state,) = batching.state
    assert (state.input_name, state.output_name, list(state.dims)) == ("state", "next_state", [rt.widths.state])
    (begin,) = state.initial_state
    assert begin.zero_data
    assert (begin.data_type, list(begin.dims)) == (state.data_type, list(state.dims))
    assert batching.oldest.max_candidate_sequences == MOST


def test_ensembles_are_connected(server: Server, bundle: Bundle) -> None:
    for ensemble in ensembles(bundle.manifest):
        check_connected(server, ensemble)


def check_connected(server: Server, verb: str) -> None:
    """Every step finds its inputs made, of one type and shape, by the client or a step before it."""
    config = server.configs[verb]
    assert (config.name, config.platform) == (verb, "ensemble")
    known = {tensor.name: tensor for tensor in config.input}
    used = set()
    for step in config.ensemble_scheduling.step:
        model = server.configs[step.model_name]
        assert step.model_version == -1
        assert config.max_batch_size <= model.max_batch_size
        assert set(step.input_map) == {tensor.name for tensor in model.input}
        assert set(step.output_map) <= {tensor.name for tensor in model.output}
        for tensor in model.input:
            given = known[step.input_map[tensor.name]]
            used.add(given.name)
            assert given.data_type == tensor.data_type
            pairs = zip(given.dims, tensor.dims, strict=True)
            assert all(a == b or -1 in (a, b) for a, b in pairs), (verb, step.model_name, tensor.name)
        for tensor in model.output:
            if tensor.name in step.output_map:
                ours = step.output_map[tensor.name]
                assert ours not in known
                made = type(tensor)()
                made.CopyFrom(tensor)
                made.name = ours
                known[ours] = made
    assert {tensor.name for tensor in config.input} <= used
    for tensor in config.output:
        assert known[tensor.name].data_type == tensor.data_type
    named = {ours for step in config.ensemble_scheduling.step for ours in step.output_map.values()}
    assert named == (used | {tensor.name for tensor in config.output}) - {tensor.name for tensor in config.input}


def test_encode_gives_the_runtimes_codes(server: Server, rt: Runtime, x: Array) -> None:
    if not has(server, rt, "encode"):
        return
    found, codes = server.infer("encode", {"x": x}), rt.encode(x)
    close(found["static_mean"], codes.static)
    close(found["dynamic_mean"], codes.dynamic)


def test_a_client_draws_the_runtimes_samples(server: Server, rt: Runtime, x: Array) -> None:
    if not has(server, rt, "encode"):
        return
    sampled = rt.encode(x, seed=7)
    static_noise, dynamic_noise = noises(rt, 7, Purpose.STATIC_POSTERIOR, Purpose.DYNAMIC_POSTERIOR, x)
    found = server.infer("encode", {"x": x})
    static = found["static_mean"] + found["static_std"] * static_noise
    close(static, sampled.static)
    if "encode_dynamic" in server.configs:
        given = {"x": x, "static": static, "dynamic_noise": dynamic_noise}
        given = {tensor.name: given[tensor.name] for tensor in server.configs["encode_dynamic"].input}
        found = server.infer("encode_dynamic", given)
    if DYNAMIC_POSTERIOR in server.configs:
        close(found["dynamic"], sampled.dynamic)
    else:
        close(found["dynamic_mean"] + found["dynamic_std"] * dynamic_noise, sampled.dynamic)


def test_swap_joins_codes_of_other_lengths(server: Server, rt: Runtime, name: str, x: Array) -> None:
    if not has(server, rt, "swap"):
        return
    other = clips(rt, 5)
    found = server.infer("swap", {"a": x, "b": other})
    for key, expected in zip(("a_with_b", "b_with_a"), rt.swap(x, other), strict=True):
        close(found[key], expected, GREY)
    assert ("a_with_b_std" in found) == (name == "series")


def test_reconstruct_and_decode(server: Server, rt: Runtime, x: Array) -> None:
    if not has(server, rt, "reconstruct"):
        return
    close(server.infer("reconstruct", {"x": x})["decoded"], rt.reconstruct(x), GREY)
    codes = rt.encode(x)
    given = {name: getattr(codes, name) for name in rt.manifest.ports["decoder"].inputs}
    close(server.infer("decoder", given)["x"], rt.decode(codes), GREY)


@pytest.mark.parametrize("verb", ["generate", "resample_static", "resample_dynamic"])
def test_draws_are_the_runtimes(server: Server, rt: Runtime, x: Array, verb: str) -> None:
    if not has(server, rt, verb):
        return
    static, dynamic = noises(rt, 3, Purpose.STATIC_PRIOR, Purpose.DYNAMIC_PRIOR, x)
    inputs = {"x": x, "static_noise": static, "dynamic_noise": dynamic}
    taken = {
        "generate": ("static_noise", "dynamic_noise"),
        "resample_static": ("x", "static_noise"),
        "resample_dynamic": ("x", "dynamic_noise"),
    }[verb]
    # Without a static code, there is nothing of x to keep and no static noise to draw from.
    given = {tensor.name for tensor in server.configs[verb].input}
    assert given == ({"dynamic_noise"} if rt.manifest.method in ("gpvae", "vae") else set(taken))
    found = server.infer(verb, {key: inputs[key] for key in given})
    expected = rt.generate(len(x), x.shape[1], seed=3) if verb == "generate" else getattr(rt, verb)(x, seed=3)
    close(found["decoded"], expected, GREY)


def test_the_note_says_what_the_model_cannot_and_why(repository: Path, rt: Runtime, name: str) -> None:
    note = (repository / "README.md").read_text()
    manifest = rt.manifest
    assert f"Method {manifest.method}" in note
    for verb, reason in manifest.refusals.items():
        assert f"- {verb}: {reason}" in note
    assert ("What this model cannot do" in note) == bool(manifest.refusals)
    limited = manifest.max_steps is not None
    assert (f"The prior draws at most {manifest.max_steps} steps" in note) == limited
    assert limited == (name in ("gpvae", "glr", "patchwork"))
    assert f"- encode_dynamic: {SAMPLING.get(name)}\n" in note or name not in SAMPLING
    assert ("draws the dynamic codes with encode_dynamic" in note) == (name in SAMPLING)
    decoded = "decoded, decoded_std" if name == "series" else "decoded"
    assert f" to {decoded}\n" in note
    assert (STATIC_PRIOR in note) == (STATIC_PRIOR in manifest.graphs)


SAMPLING = {
    "dsvae": "from x, static to dynamic_mean, dynamic_std",
    "gpvae": "from x, dynamic_noise to dynamic",
    "patchwork": "from x, dynamic_noise, static to dynamic",
    "glr": "from x, dynamic_noise to dynamic",
    "rwae": "from x, dynamic_noise to dynamic",
}
"""Methods whose dynamic codes a client cannot draw from what encode gives, and what it needs and gets."""


def test_a_stream_keeps_its_state_on_the_server(server: Server, rt: Runtime, x: Array) -> None:
    """Three sequences in changing company: whichever share a batch, each gets the codes of its own past."""
    if not has(server, rt, "stream"):
        return
    expected = rt.encode(x)
    at = [0] * len(x)
    for batch in ((0,), (0, 1, 2), (2, 1), (2,), (1, 0)):
        rows = np.stack([x[row, at[row]] for row in batch])[:, None]
        found = server.infer("stream", {"x": rows}, tuple(f"stream {row}" for row in batch))
        for place, row in enumerate(batch):
            close(found["static_mean"][place], expected.static[row])
            close(found["dynamic_mean"][place, 0], expected.dynamic[row, at[row]])
            at[row] += 1
    assert found["decoded"].shape == (2, 1, *rt.element.shape)


def test_what_triton_does_not_know_is_refused_here_too() -> None:
    with pytest.raises(text_format.ParseError, match="max_batches"):
        parse('name: "x" max_batches: 3')
    with pytest.raises(text_format.ParseError, match="TYPE_FP33"):
        parse('input { name: "x" data_type: TYPE_FP33 }')


def test_the_schema_is_tritons() -> None:
    """Held against the schema of Triton's own client, where that is installed."""
    spec = importlib.util.find_spec("tritonclient")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no tritonclient: it asks for older protobuf and ml_dtypes than onnx does")
    path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    theirs = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert theirs is not None
    assert theirs.loader is not None
    module = importlib.util.module_from_spec(theirs)
    theirs.loader.exec_module(module)
    ours = parse("").DESCRIPTOR.file
    for message in MESSAGES:
        one, two = (file for file in (ours, module.DESCRIPTOR))
        for part in message.split("."):
            one = getattr(one, "message_types_by_name", None) or one.nested_types_by_name
            two = getattr(two, "message_types_by_name", None) or two.nested_types_by_name
            one, two = one[part], two[part]
        for field in one.fields:
            known = two.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (known.number, known.type, known.is_repeated)
    types = module.DESCRIPTOR.enum_types_by_name["DataType"].values_by_name
    assert all(types[value.name].number == value.number for value in ours.enum_types_by_name["DataType"].values)


def test_refusals(bundle: Bundle, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError):
        write_triton(bundle, repository)
    with pytest.raises(ConfigError, match="is no Triton repository of sdkit"):
        write_triton(bundle, tmp_path, force=True)
    with pytest.raises(ConfigError, match="max_batch_size = 0"):
        write_triton(bundle, tmp_path / "models", max_batch_size=0)
    assert not (tmp_path / "models").exists()


def test_torchscript_alone_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", lively_model())
    with pytest.raises(BundleError, match="holds no onnx graphs, which Triton runs"):
        write_triton(quick_export(run, format="torchscript"), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_command(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", lively_model())
    quick_export(run)
    before = (run.bundle / "manifest.json").read_bytes()
    line = ["export", str(run.path), "--triton", str(tmp_path / "models")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.stderr
    assert f"tritonserver --model-repository {tmp_path / 'models'}" in result.stdout.replace("\n", "") + result.stderr
    assert (run.bundle / "manifest.json").read_bytes() == before
    assert Server(tmp_path / "models").configs["encode"].max_batch_size == 64
    again = CliRunner().invoke(app, line)
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    other = CliRunner().invoke(app, [*line[:2], "--triton", str(tmp_path / "more"), "--format", "torchscript"])
    assert (other.exit_code, "repository of --triton runs ONNX graphs" in other.stderr) == (2, True)
