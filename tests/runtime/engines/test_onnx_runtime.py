"""Devices of ONNX Runtime: what is asked for is what runs, or an error says why not."""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.codes import Codes
from sdkit.runtime.engines import onnx_runtime as ort
from sdkit.runtime.engines.backend import Chaining, chain, divided
from sdkit.runtime.errors import ConfigError, DeviceError, MissingExtraError
from sdkit.runtime.runtime import Runtime
from tests.tiny import sequences


class Fake:
    """An onnxruntime that lists CUDA; how its sessions behave is up to a test.

    Args:
        session: called instead of `InferenceSession` when CUDA is asked for; sessions on the CPU are real.
    """

    SessionOptions = onnxruntime.SessionOptions
    __version__ = onnxruntime.__version__

    def __init__(self, session: Callable[..., Any]) -> None:
        self.session, self.asked, self.preloaded = session, list[Any](), 0
        self.moved: list[str] = []
        self.OrtValue = Values(self.moved)

    def get_available_providers(self) -> list[str]:
        return [ort.CUDA, ort.CPU]

    def preload_dlls(self) -> None:
        self.preloaded += 1
        print("Failed to load libcudnn.so.9")

    def InferenceSession(self, path: str, options: Any, providers: list[Any]) -> Any:  # noqa: N802
        self.asked.append(providers)
        if providers == [ort.CPU]:
            return onnxruntime.InferenceSession(path, options, providers=providers)
        return self.session(path, options)


def falls_back(path: str, options: Any) -> Any:
    """Do as onnxruntime does when a CUDA library is missing: run on the CPU and say nothing."""
    return onnxruntime.InferenceSession(path, options, providers=[ort.CPU])


def fails(path: str, options: Any) -> Any:
    raise RuntimeError("CUDA failure 35: driver too old\nstack trace\nof many lines")


class Values:
    """Values on a GPU that there is not, and a log of what goes there and comes back."""

    def __init__(self, moved: list[str]) -> None:
        self.moved = moved

    def ortvalue_from_numpy(self, array: Any, kind: str, number: int) -> "Value":
        self.moved.append(f"{array.dtype} {array.shape} to {kind}:{number}")
        return Value(onnxruntime.OrtValue.ortvalue_from_numpy(array, "cpu", 0), self.moved)


class Value:
    def __init__(self, value: Any, moved: list[str]) -> None:
        self.value, self.moved = value, moved

    def numpy(self) -> Any:
        array = self.value.numpy()
        self.moved.append(f"{array.dtype} {array.shape} back")
        return array


PLACES: set[int] = set()
"""Numbers of the GPUs that outputs were bound to."""


class Binding:
    """An IO binding whose outputs stay on the GPU that there is not."""

    def __init__(self, binding: Any) -> None:
        self.binding, self.moved = binding, list[str]()

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        self.moved = value.moved
        self.binding.bind_ortvalue_input(name, value.value)

    def bind_output(self, name: str, kind: str, number: int) -> None:
        assert kind == "cuda"
        PLACES.add(number)
        self.binding.bind_output(name, "cpu")

    def get_outputs(self) -> list[Value]:
        return [Value(value, self.moved) for value in self.binding.get_outputs()]


class OnCuda:
    """A session that says it runs on CUDA."""

    def __init__(self, path: str, options: Any) -> None:
        self._session = falls_back(path, options)

    def io_binding(self) -> Binding:
        return Binding(self._session.io_binding())

    def run_with_iobinding(self, binding: Binding) -> None:
        self._session.run_with_iobinding(binding.binding)

    def get_providers(self) -> list[str]:
        return [ort.CUDA, ort.CPU]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def use(monkeypatch: pytest.MonkeyPatch, session: Callable[..., Any]) -> Fake:
    fake = Fake(session)
    monkeypatch.setattr(ort, "_onnxruntime", lambda: fake)
    return fake


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", ort.CPU])


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_cuda_auto_is_the_cpu(mini: Bundle, device: str) -> None:
    rt = Runtime.open(mini.path, device=device)
    assert (rt.device, rt.backend.name) == ("cpu", "onnx")


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_asked_of_a_cpu_build_is_an_error_that_lists_what_there_is(mini: Bundle, device: str) -> None:
    with pytest.raises(DeviceError) as caught:
        Runtime.open(mini.path, device=device)
    assert str(caught.value) == (
        f"device {device} was asked for, but this onnxruntime has no CUDA provider "
        "(it has: AzureExecutionProvider, CPUExecutionProvider); "
        "pip uninstall onnxruntime, then pip install 'sdkit[gpu]'"
    )


@pytest.mark.parametrize("device", ["gpu", "", "CUDA", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "mps"])
@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_unknown_devices(mini: Bundle, device: str, backend: Any) -> None:
    with pytest.raises(ConfigError, match=f"unknown device '{device}'; choose auto, cpu, cuda or cuda:N"):
        Runtime.open(mini.path, device=device, backend=backend)


def test_unknown_backend(mini: Bundle) -> None:
    with pytest.raises(ConfigError, match="unknown backend 'tensorrt'; choose onnx or torchscript"):
        Runtime.open(mini.path, backend="tensorrt")  # type: ignore[arg-type]


def test_silent_fall_back_to_the_cpu_is_an_error_where_cuda_was_asked_for(
    mini: Bundle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = use(monkeypatch, falls_back)
    with pytest.raises(DeviceError, match="onnxruntime fell back to CPUExecutionProvider: a CUDA or cuDNN library is"):
        Runtime.open(mini.path, device="cuda:1")
    assert fake.asked == [[(ort.CUDA, {"device_id": 1, **ort.CUDA_OPTIONS}), ort.CPU]]
    assert fake.preloaded == 1
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("session", [falls_back, fails], ids=["falls back", "fails"])
def test_auto_takes_the_cpu_where_cuda_does_not_work(
    mini: Bundle, monkeypatch: pytest.MonkeyPatch, session: Callable[..., Any]
) -> None:
    fake = use(monkeypatch, session)
    rt = Runtime.open(mini.path)
    assert rt.device == "cpu"
    assert rt.encode(sequences(2)).static.shape == (2, 5)
    assert all(providers == [ort.CPU] for providers in fake.asked[1:])


def test_a_session_that_cannot_be_made_is_an_error_of_one_line(mini: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fails)
    with pytest.raises(DeviceError) as caught:
        Runtime.open(mini.path, device="cuda")
    assert str(caught.value) == "device cuda:0 cannot be used: CUDA failure 35: driver too old"


@pytest.mark.parametrize(("device", "really"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3")])
def test_where_cuda_works_every_graph_runs_there(
    mini: Bundle, monkeypatch: pytest.MonkeyPatch, device: str, really: str
) -> None:
    fake = use(monkeypatch, OnCuda)
    PLACES.clear()
    rt = Runtime.open(mini.path, device=device)
    rt.backend.run("encoder", {"x": sequences(2)})
    rt.decode(Codes(np.zeros((2, 5), np.float32), np.zeros((2, 3, 4), np.float32)))
    assert rt.device == really
    number = int(really.removeprefix("cuda:"))
    assert {number} == PLACES
    assert all(
        providers == [(ort.CUDA, {"device_id": number, **ort.CUDA_OPTIONS}), ort.CPU] for providers in fake.asked
    )
    assert len(fake.asked) == 3  # static, which also shows whether CUDA works, then encoder, decoder


def test_sessions_open_when_first_used_and_once(mini: Bundle) -> None:
    rt = Runtime.open(mini.path, device="cpu")
    backend = rt.backend
    assert isinstance(backend, ort.OnnxBackend)
    assert list(backend._sessions) == ["static"]
    rt.encode(sequences(2))
    sessions = dict(backend._sessions)
    assert set(sessions) == {"encoder", "static", "dynamic"}
    rt.encode(sequences(3))
    assert backend._sessions == sessions


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_threads(mini: Bundle, threads: int | None) -> None:
    backend = ort.OnnxBackend(mini, "cpu", threads)
    for graph in mini.manifest.graphs:
        options = backend._session(graph).get_session_options()
        wanted = threads or len(os.sched_getaffinity(0))
        assert options.intra_op_num_threads == (wanted if graph in ("encoder", "decoder") else 1)
        assert options.inter_op_num_threads == 1


def test_many_batches_run_on_one_thread_each(mini: Bundle) -> None:
    backend = ort.OnnxBackend(mini, "cpu", 3)
    single, count = divided(backend)
    assert count == 3
    assert isinstance(single, ort.OnnxBackend)
    for graph in mini.manifest.graphs:
        assert single._session(graph).get_session_options().intra_op_num_threads == 1
    assert divided(backend) == (single, 3)
    assert divided(single) == (single, 1)


def test_two_batches_are_in_flight_on_a_gpu(mini: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, OnCuda)
    backend = ort.OnnxBackend(mini, "cuda", 3)
    assert divided(backend) == (backend, 2)


CHAINS: dict[str, Any] = {
    "encode": (("encoder", "static", "dynamic"), ["static_mean", "dynamic_mean"]),
    "encode with a seed": (
        ("encoder", "static", "dynamic"),
        ["static_mean", "dynamic_mean", "static_std", "dynamic_std"],
    ),
    "generate": (("prior", "decoder"), ["x"]),
}


def given(name: str) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    if name != "generate":
        return {"x": sequences(3)[:, ::-1]}  # an array that is not laid out as it is indexed
    return {
        "static": rng.standard_normal((3, 5)).astype(np.float32),
        "noise": rng.standard_normal((3, 6, 4)).astype(np.float32),
    }


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("format_", ["onnx", "torchscript"])
def test_a_chain_on_the_device_gives_what_graph_after_graph_gives(mini: Bundle, name: str, format_: Any) -> None:
    backend = Runtime.open(mini.path, device="cpu", backend=format_, threads=1).backend
    assert isinstance(backend, Chaining)
    graphs, outputs = CHAINS[name]
    found, wanted = (run(graphs, given(name), outputs) for run in (backend.run_chain, partial(chain, backend)))
    assert list(found) == list(wanted) == outputs
    for output in outputs:
        np.testing.assert_array_equal(found[output], wanted[output])


def test_pixels_go_to_the_gpu_once_and_codes_alone_come_back(mini: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    x = sequences(2)
    cpu = Runtime.open(mini.path, device="cpu")
    codes, clips = cpu.encode(x, seed=1), cpu.generate(2, 3, seed=1)
    fake = use(monkeypatch, OnCuda)
    rt = Runtime.open(mini.path, device="cuda")
    np.testing.assert_allclose(rt.encode(x, seed=1).dynamic, codes.dynamic, atol=1e-5)
    assert fake.moved.pop(0) == "uint8 (2, 5, 3, 16, 16) to cuda:0"
    assert fake.moved == [f"float32 {shape} back" for shape in ((2, 5), (2, 5), (2, 5, 4), (2, 5, 4))]
    fake.moved.clear()
    np.testing.assert_allclose(rt.generate(2, 3, seed=1), clips, atol=1e-2)
    assert fake.moved == [
        "float32 (2, 5) to cuda:0",
        "float32 (2, 3, 4) to cuda:0",
        "float32 (2, 3, 3, 16, 16) back",
    ]


@pytest.mark.skipif(ort.CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime has no CUDA")
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_on_a_gpu_gives_what_the_cpu_gives(mini: Bundle, name: str) -> None:
    graphs, outputs = CHAINS[name]
    try:
        backend = ort.OnnxBackend(mini, "cuda")
    except DeviceError as error:
        pytest.skip(str(error))
    found = backend.run_chain(graphs, given(name), outputs)
    wanted = chain(ort.OnnxBackend(mini, "cpu"), graphs, given(name), outputs)
    for output in outputs:
        np.testing.assert_allclose(found[output], wanted[output], rtol=1e-2, atol=1e-2)


def test_sessions_open_once_whatever_thread_is_first(mini: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = ort.OnnxBackend(mini, "cpu", 1)
    opened: list[str] = []
    really = backend._open

    def slowly(graph: str, device: str) -> Any:
        opened.append(graph)
        time.sleep(0.05)
        return really(graph, device)

    monkeypatch.setattr(backend, "_open", slowly)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(backend._session, ["encoder"] * 4))) == 1
    assert opened == ["encoder"]


def test_missing_onnxruntime(mini: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime is not installed; pip install 'sdkit\[cpu\]'"):
        Runtime.open(mini.path)


def test_arrays_of_any_layout(mini: Bundle, rt: Runtime) -> None:
    x = sequences(4)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(rt.encode(frozen).dynamic, rt.encode(x).dynamic)
    backwards = x[:, ::-1]
    np.testing.assert_array_equal(rt.encode(backwards).dynamic, rt.encode(backwards.copy()).dynamic)
    strided = np.concatenate([x, x], 1)[::2, ::2]
    np.testing.assert_array_equal(rt.encode(strided).dynamic, rt.encode(strided.copy()).dynamic)
