"""Runs whose files are damaged, cut short or somebody else's: one error that names the file, and nothing is lost."""

import contextlib
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from sdkit.methods import names
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError, SdkitError
from sdkit.training.run import Run
from sdkit.training.train import train
from tests.conftest import leave_out_pictures
from tests.export.runs import write_run
from tests.sdkit.training.files import random_file
from tests.tiny import TINY, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of one epoch; nothing of it may be changed."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        leave_out_pictures(patch)
        patch.chdir(folder)
        random_file(folder / "random.h5")
        train("random.h5", variant="paper", device="cpu", batch_size=8, epochs=1, **TINY)
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a copy that may be spoilt."""
    shutil.copytree(original, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    leave_out_pictures(monkeypatch)
    return Run(Path("runs/random"))


def resume(run: Run) -> Run:
    return train(resume=run.path, epochs=2, device="cpu")


def snapshot(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def test_the_copy_is_sound(run: Run) -> None:
    run.load_model()
    assert len(resume(run).metrics()) == 2


# config.json


def edited(run: Run, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((run.path / "config.json").read_text("utf-8"))
    change(config)
    (run.path / "config.json").write_text(json.dumps(config), "utf-8")


CONFIGS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no settings": lambda c: c.pop("settings"),
    "settings that are none": lambda c: c.update(settings=[]),
    "a width of a text": lambda c: c["settings"].update(dynamic_size="4"),
    "an element of nothing": lambda c: c["facts"]["element"].update(shape=[]),
    "an element without a kind": lambda c: c["facts"]["element"].update(kind="\x1b[2J"),
    "a version of a text": lambda c: c.update(version="\x1b[31m"),
    "a version of depth": lambda c: c.update(version=[[[]]]),
    "a method of nothing": lambda c: c.update(method="\x1b]0;x\x07" + "a" * 5000),
    "another method": lambda c: c.update(method="vae"),
    "negative epochs": lambda c: c["train"].update(epochs=-1),
    "an unknown key": lambda c: c.update({"\x1b[2J": 1}),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_that_are_none(run: Run, case: str) -> None:
    edited(run, CONFIGS[case])
    for use in (run.load_model, lambda: resume(run)):
        with pytest.raises((FileFormatError, ConfigError)) as caught:
            use()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[" * 10**5, b'{"version": 1' + b"0" * 5000 + b"}", b"null", b"3", b'"a"']
)
def test_texts_that_are_no_configs(run: Run, text: bytes) -> None:
    (run.path / "config.json").write_bytes(text)
    with pytest.raises(FileFormatError, match=r"config\.json"):
        _ = run.config


def test_a_config_without_end_is_refused_unread(run: Run) -> None:
    with (run.path / "config.json").open("r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(FileFormatError, match="which no run has"):
        _ = run.config


LARGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a static code": lambda c: c["settings"].update(static_size=10**7),
    "an LSTM": lambda c: c["settings"].update(hidden_size=10**5),
    "layers": lambda c: c["settings"].update(encoder_widths=[1500] * 3),
    "channels": lambda c: c["facts"]["element"].update(shape=[10**8, 16, 16]),
    "64 bits": lambda c: c["settings"].update(hidden_size=2**62),
    "more than 64 bits": lambda c: c["settings"].update(hidden_size=2**70),
}


@pytest.mark.parametrize("case", LARGE)
def test_models_that_the_weights_cannot_fill_are_not_built(run: Run, case: str) -> None:
    edited(run, LARGE[case])
    before = _peak()
    for use in (run.load_model, lambda: resume(run)):
        with pytest.raises(SdkitError):
            use()
    assert _peak() - before < 2**28


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("method", names())
def test_shapes_of_every_method_are_known_without_its_weights(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of nothing, every model passes through the check of its size."""
    monkeypatch.setattr("sdkit.training.run.LARGE", 0)
    run = write_run(tmp_path / "run", tiny_model(method=method))
    run.load_model()
    stored = tmp_path / "short.safetensors"
    stored.write_bytes(run.weights().read_bytes()[:100])
    with pytest.raises(FileFormatError, match=r"bytes of weights, and short\.safetensors has fewer bytes"):
        run.build(stored)


# Weights


def other_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> bytes:
    weights = dict(tiny_model("paper").state_dict())
    change(weights)
    return save(weights)


def _nan(weights: dict[str, torch.Tensor]) -> None:
    name = next(name for name, value in weights.items() if value.ndim == 2)
    weights[name] = weights[name].clone()
    weights[name][1, 1] = float("nan")


def _first(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name, value in weights.items() if value.ndim == 2)


WEIGHTS: dict[str, Callable[[], bytes]] = {
    "no byte": lambda: b"",
    "text": lambda: b"weights",
    "a header without end": lambda: (2**62).to_bytes(8, "little") + b"{}",
    "a header of depth": lambda: (10**5).to_bytes(8, "little") + b"[" * 10**5,
    "names that are no UTF-8": lambda: (30).to_bytes(8, "little") + b'{"\xff\xfe": 1}'.ljust(30),
    "offsets that overlap": lambda: _header({"a": _entry(0, 4), "b": _entry(0, 4)}) + bytes(4),
    "offsets outside": lambda: _header({"a": _entry(0, 4 * 10**9, [10**9])}) + bytes(4),
    "a shape without end": lambda: _header({"a": _entry(0, 4, [2**62, 2**62])}) + bytes(4),
    "a negative shape": lambda: _header({"a": _entry(0, 4, [-1])}) + bytes(4),
    "a dtype of nothing": lambda: _header({"a": {**_entry(0, 4), "dtype": "X9"}}) + bytes(4),
    "a dtype of 4 bits": lambda: _header({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}) + bytes(4),
    "no weights": lambda: save({}),
    "one too few": lambda: other_weights(lambda w: w.pop(_first(w))),
    "one too many": lambda: other_weights(lambda w: w.update({"\x1b[2J": torch.zeros(1)})),
    "another shape": lambda: other_weights(lambda w: w.update({_first(w): torch.zeros(2, 2)})),
    "another dtype": lambda: other_weights(lambda w: w.update({_first(w): w[_first(w)].double()})),
    "NaN": lambda: other_weights(_nan),
}


def _entry(start: int, end: int, shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape or [1], "data_offsets": [start, end]}


def _header(entries: dict[str, Any]) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_none(run: Run, case: str) -> None:
    (run.path / "best.safetensors").write_bytes(WEIGHTS[case]())
    with pytest.raises(FileFormatError, match=r"best\.safetensors") as caught:
        run.load_model()
    assert str(caught.value).isprintable()


def test_weights_that_are_not_finite_are_not_exported(tmp_path: Path) -> None:
    from sdkit.export.bundle import export_bundle

    run = write_run(tmp_path / "run", tiny_model())
    (run.path / "best.safetensors").write_bytes(other_weights(_nan))
    with pytest.raises(FileFormatError, match=r"best\.safetensors: .* has values that are not finite"):
        export_bundle(run)
    assert not run.bundle.exists()


def test_runs_in_folders_whose_names_are_no_utf_8(tmp_path: Path) -> None:
    """safetensors takes no such path."""
    folder = tmp_path / "caf\udce9"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    run = write_run(tmp_path / "run", tiny_model())
    shutil.copytree(run.path, folder / "run")
    assert Run(folder / "run").load_model().state_dict().keys() == run.load_model().state_dict().keys()


def test_weights_are_written_as_any_other_file(run: Run) -> None:
    """The library's own writer lets nobody else read them, whatever the umask."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in run.path.iterdir() if path.is_file()}
    assert len(set(modes.values())) == 1, modes
    plain = run.path / "plain"
    plain.touch()
    assert set(modes.values()) == {plain.stat().st_mode & 0o777}


# metrics.jsonl


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]\n",
        b"1\n",
        b"{}\n",
        b'{"epoch": "1"}\n',
        b'{"epoch": 1, "train": 3}\n',
        b'{"epoch": 1, "train": {"loss": "x"}}\n',
        b'{"epoch": 1, "val": {"loss": [1]}}\n',
        b"\xff\n",
        b"[" * 10**5,
        b'{"epoch": 1' + b"0" * 5000 + b"}",
    ],
)
def test_metrics_that_are_none(run: Run, text: bytes) -> None:
    (run.path / "metrics.jsonl").write_bytes(text)
    for use in (run.metrics, lambda: resume(run)):
        with pytest.raises(FileFormatError, match=r"metrics\.jsonl does not hold the records of a run"):
            use()


def test_metrics_of_fewer_epochs_than_the_state(run: Run) -> None:
    (run.path / "metrics.jsonl").write_bytes(b"")
    before = snapshot(run)
    with pytest.raises(FileFormatError, match=r"metrics\.jsonl holds 0 epochs and state\.pt 1; the run is damaged"):
        resume(run)
    assert snapshot(run) == before


# state.pt


def _without(*keys: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: [state.pop(key) for key in keys]


def _moments(state: dict[str, Any]) -> dict[int, dict[str, torch.Tensor]]:
    found: dict[int, dict[str, torch.Tensor]] = state["optimizers"]["model"]["state"]
    return found


STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no epoch": _without("epoch"),
    "an epoch of a text": lambda s: s.update(epoch="1"),
    "an epoch before the first": lambda s: s.update(epoch=0),
    "a score of a text": lambda s: s.update(best="low"),
    "no weights": _without("weights"),
    "weights of a list": lambda s: s.update(weights=[]),
    "a weight too few": lambda s: s["weights"].popitem(),
    "a weight of a text": lambda s: s["weights"].update({next(iter(s["weights"])): "x"}),
    "a weight of another shape": lambda s: s["weights"].update({next(iter(s["weights"])): torch.zeros(1, 2)}),
    "a sparse weight": lambda s: s["weights"].update({n: v.to_sparse() for n, v in list(s["weights"].items())[:1]}),
    "NaN": lambda s: s["weights"].update({n: v * float("nan") for n, v in s["weights"].items()}),
    "no optimisers": _without("optimizers"),
    "optimisers of a list": lambda s: s.update(optimizers=[1]),
    "another phase": lambda s: s.update(optimizers={"other": s["optimizers"]["model"]}),
    "an optimiser of a text": lambda s: s.update(optimizers={"model": "adam"}),
    "no groups": lambda s: s["optimizers"]["model"].update(param_groups=[]),
    "a rate of a text": lambda s: s["optimizers"]["model"]["param_groups"][0].update(lr="fast"),
    "parameters of others": lambda s: s["optimizers"]["model"]["param_groups"][0].update(params=[0]),
    "moments of a list": lambda s: s["optimizers"]["model"].update(state=[]),
    "moments of no parameter": lambda s: _moments(s).update({10**9: _moments(s)[0]}),
    "moments of another shape": lambda s: _moments(s)[0].update(exp_avg=torch.zeros(1)),
    "moments without end": lambda s: _moments(s)[0].update(exp_avg=torch.zeros(1).expand(10**12)),
    "moments that are not finite": lambda s: _moments(s)[0].update(exp_avg=_moments(s)[0]["exp_avg"] * float("inf")),
}


@pytest.mark.parametrize("case", STATES)
def test_states_that_are_none(run: Run, case: str) -> None:
    file = run.path / "state.pt"
    state = torch.load(file, weights_only=True)
    STATES[case](state)
    torch.save(state, file)
    before = snapshot(run)
    with pytest.raises(FileFormatError, match=r"state\.pt"):
        resume(run)
    assert snapshot(run) == before


class Payload:
    """An object whose unpickling would write a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("owned"),)  # type: ignore[return-value]


FILES: dict[str, Callable[[Path], object]] = {
    "no byte": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_bytes(b"state"),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a pickle": lambda file: file.write_bytes(pickle.dumps({"epoch": 1})),
    "an old pickle of torch": lambda file: torch.save({"epoch": 1}, file, _use_new_zipfile_serialization=False),
    "a pickle that runs code": lambda file: torch.save(Payload(), file),
    "no dictionary": lambda file: torch.save([1, 2], file),
    "a zip of other things": lambda file: zipfile.ZipFile(file, "w").writestr("a", "b"),
    "packed parts": lambda file: _repacked(file),
}


def _repacked(file: Path) -> None:
    """Write the same parts again, packed, and one of them a bomb."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content + bytes(2**24 if name.endswith("data/0") else 0))


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_states(run: Run, case: str) -> None:
    FILES[case](run.path / "state.pt")
    with pytest.raises(FileFormatError, match=r"state\.pt"):
        resume(run)
    assert not Path("owned").exists()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "state.pt", "best.safetensors"])
def test_changed_bytes_never_end_in_another_error(run: Run, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    file = run.path / name
    content = bytearray(file.read_bytes())
    for place in rng.integers(0, min(len(content), 3000), 2):
        content[place] = rng.integers(256)
    file.write_bytes(content[: rng.integers(len(content))] if seed % 5 == 0 else content)
    for use in (run.metrics, run.load_model):
        with contextlib.suppress(SdkitError):
            use()
    if name == "state.pt":
        _restore(run)


def _restore(run: Run) -> None:
    """Load the state without training on, which takes most of the time of resuming."""
    from sdkit.training.checkpoint import load_state

    model = run.build(run.weights("last"))
    optimizers = {phase: torch.optim.Adam(model.phase_parameters(phase)) for phase in model.phases}
    with contextlib.suppress(SdkitError):
        load_state(run, model, optimizers, torch.device("cpu"))


def test_a_run_without_its_files(run: Run) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        (run.path / name).unlink()
    with pytest.raises(MissingFileError, match="no epoch of this run has ended"):
        run.load_model()
    with pytest.raises(MissingFileError):
        resume(run)
    (run.path / "config.json").unlink()
    (run.path / "config.json").mkdir()
    with pytest.raises(MissingFileError, match=r"config\.json does not exist, or is no file"):
        _ = run.config


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5", "0x1"])
def test_variables_of_several_processes_that_are_no_numbers(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}={value} is set, which is no number"):
        resume(run)


def test_one_of_several_processes_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SdkitError, match="WORLD_SIZE=2 is set without RANK, MASTER_ADDR, MASTER_PORT"):
        resume(run)
