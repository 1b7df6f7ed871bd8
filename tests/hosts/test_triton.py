"""The Triton repository: parsed as Triton parses it, held against the graphs, and run as Triton would run it.

Triton itself needs a container of its own and does not run here: the server's part is played by ONNX Runtime over the
parsed configurations.
"""

import importlib.util
import json
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
from sdkit.export.hosts.triton import ENSEMBLES, write_triton
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Array
from sdkit.runtime.engines.backend import GRAPHS, STEP
from sdkit.runtime.errors import BundleError, ConfigError, OutputExistsError
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.runtime import Runtime
from tests.export.runs import lively_model, quick_export, write_run
from tests.hosts.golden import KEPT, read
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


@pytest.fixture(scope="module", params=["image", "series"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(name: str) -> Bundle:
    return Bundle.open(KEPT / name)


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
def x(name: str) -> Array:
    return read(KEPT, about(name))


def about(name: str, key: str = "x") -> dict[str, Any]:
    golden = json.loads((KEPT / "golden.json").read_text())
    return dict(golden["bundles"][name]["inputs"][key])


def test_every_model_has_its_graph_and_every_verb_an_ensemble(repository: Path, bundle: Bundle) -> None:
    for graph in (*GRAPHS, STEP):
        content = (repository / graph / "1" / "model.onnx").read_bytes()
        assert content == bundle.graph_file(graph, "onnx").read_bytes()
    assert {path.name for path in repository.iterdir()} == {*GRAPHS, STEP, *ENSEMBLES, "README.md"}
    for ensemble in ENSEMBLES:
        assert (repository / ensemble / "1").is_dir()


@pytest.mark.parametrize("graph", [*GRAPHS, STEP])
def test_tensors_are_those_of_the_graph(server: Server, graph: str) -> None:
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
    batching = server.configs[STEP].sequence_batching
    (state,) = batching.state
    assert (state.input_name, state.output_name, list(state.dims)) == ("state", "next_state", [rt.online.state_size])
    (begin,) = state.initial_state
    assert begin.zero_data
    assert (begin.data_type, list(begin.dims)) == (state.data_type, list(state.dims))
    assert batching.oldest.max_candidate_sequences == MOST


@pytest.mark.parametrize("verb", ENSEMBLES)
def test_ensembles_are_connected(server: Server, verb: str) -> None:
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
    found, codes = server.infer("encode", {"x": x}), rt.encode(x)
    close(found["static_mean"], codes.static)
    close(found["dynamic_mean"], codes.dynamic)
    sampled = rt.encode(x, seed=7)
    noise = standard_normal(7, Purpose.STATIC_POSTERIOR, 0, codes.static.shape)
    close(found["static_mean"] + found["static_std"] * noise, sampled.static)


def test_swap_joins_codes_of_other_lengths(server: Server, rt: Runtime, name: str, x: Array) -> None:
    other = read(KEPT, about(name, "other"))
    assert other.shape[1] != x.shape[1]
    found = server.infer("swap", {"a": x, "b": other})
    for key, expected in zip(("a_with_b", "b_with_a"), rt.swap(x, other), strict=True):
        close(found[key], expected, 0.0255)
    assert ("a_with_b_std" in found) == (name == "series")


def test_the_other_verbs(server: Server, rt: Runtime, x: Array) -> None:
    close(server.infer("reconstruct", {"x": x})["decoded"], rt.reconstruct(x), 0.0255)
    static = standard_normal(3, Purpose.STATIC_PRIOR, 0, (len(x), rt.letters.static_size))
    dynamic = standard_normal(3, Purpose.DYNAMIC_PRIOR, 0, (len(x), x.shape[1], rt.letters.dynamic_size))
    drawn = {"static_noise": static, "dynamic_noise": dynamic}
    close(server.infer("generate", drawn)["decoded"], rt.generate(len(x), x.shape[1], seed=3), 0.0255)
    for verb, noise in (("resample_static", "static_noise"), ("resample_dynamic", "dynamic_noise")):
        expected = getattr(rt, verb)(x, seed=3)
        close(server.infer(verb, {"x": x, noise: drawn[noise]})["decoded"], expected, 0.0255)


def test_a_stream_keeps_its_state_on_the_server(server: Server, rt: Runtime, x: Array) -> None:
    """Three sequences in changing company: whichever share a batch, each gets the codes of its own past."""
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


def close(found: Array, expected: Array, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=atol)


def test_a_model_that_cannot_run_online_has_no_stream(tmp_path: Path) -> None:
    made = quick_export(write_run(tmp_path / "run", lively_model("release")))
    names = {path.name for path in write_triton(made, tmp_path / "models").iterdir()}
    assert names == {*GRAPHS, *ENSEMBLES, "README.md"} - {"stream"}


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
