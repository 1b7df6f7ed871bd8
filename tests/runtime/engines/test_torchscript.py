import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.engines.torchscript import TorchScriptBackend
from sdkit.runtime.errors import DeviceError, MissingExtraError
from sdkit.runtime.runtime import Runtime
from tests.tiny import sequences


@pytest.fixture
def scripts(mini: Bundle) -> Runtime:
    return Runtime.open(mini.path, device="cpu", backend="torchscript", batch_size=4)


def test_it_computes_what_onnx_computes(rt: Runtime, scripts: Runtime) -> None:
    assert (scripts.backend.name, scripts.device) == ("torchscript", "cpu")
    x, y = sequences(5, 6), sequences(5, 4, seed=1)
    np.testing.assert_allclose(scripts.encode(x).static, rt.encode(x).static, atol=1e-5)
    np.testing.assert_allclose(scripts.encode(x, seed=3).dynamic, rt.encode(x, seed=3).dynamic, atol=1e-5)
    for a, b in zip(scripts.swap(x, y), rt.swap(x, y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-2)
    np.testing.assert_allclose(scripts.generate(5, 7, seed=2), rt.generate(5, 7, seed=2), atol=1e-2)
    assert np.ptp(rt.generate(5, 7, seed=2)) > 50  # grey levels: not all the same picture


def test_graphs_load_when_first_used_and_once(scripts: Runtime) -> None:
    backend = scripts.backend
    assert isinstance(backend, TorchScriptBackend)
    assert backend._modules == {}
    scripts.encode(sequences(2))
    modules = dict(backend._modules)
    assert set(modules) == {"encoder", "static", "dynamic"}
    scripts.encode(sequences(3))
    assert backend._modules == modules
    assert not any(module.training for module in modules.values())


def test_arrays_of_any_layout(scripts: Runtime) -> None:
    """PyTorch by itself warns of read-only arrays and refuses those that run backwards."""
    x = sequences(4)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(scripts.encode(frozen).dynamic, scripts.encode(x).dynamic)
    backwards = x[:, ::-1]
    np.testing.assert_array_equal(scripts.encode(backwards).dynamic, scripts.encode(backwards.copy()).dynamic)


def test_inputs_are_not_written_to(scripts: Runtime) -> None:
    x = sequences(3)
    before = x.copy()
    scripts.reconstruct(x)
    np.testing.assert_array_equal(x, before)


def test_device(mini: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TorchScriptBackend(mini, "auto").device == "cpu"
    with pytest.raises(DeviceError, match="device cuda was asked for, but this PyTorch does not see it"):
        TorchScriptBackend(mini, "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert TorchScriptBackend(mini, "auto").device == "cuda:0"
    assert TorchScriptBackend(mini, "cuda:1").device == "cuda:1"
    assert TorchScriptBackend(mini, "cpu").device == "cpu"
    with pytest.raises(DeviceError, match="device cuda:2 was asked for"):
        TorchScriptBackend(mini, "cuda:2")


def test_threads(mini: Bundle) -> None:
    before = torch.get_num_threads()
    try:
        TorchScriptBackend(mini, "cpu", before + 1)
        assert torch.get_num_threads() == before + 1
        TorchScriptBackend(mini, "cpu")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_missing_torch(mini: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"TorchScript graphs need PyTorch; pip install 'sdkit\[train\]'"):
        Runtime.open(mini.path, backend="torchscript")


def test_files_carry_their_contract(mini: Bundle) -> None:
    extra = {"metadata.json": ""}
    torch.jit.load(str(mini.path / "prior.ts.pt"), _extra_files=extra)  # type: ignore[no-untyped-call]
    assert '"sdkit.weights_sha256"' in str(extra["metadata.json"])


def test_a_run_stands_for_its_bundle(mini: Bundle, tmp_path: Path) -> None:
    assert Runtime.open(mini.path.parent, device="cpu").bundle.path == mini.path
