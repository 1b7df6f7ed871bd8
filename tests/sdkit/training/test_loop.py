"""Training as a whole: weights, run folder, resuming, errors."""

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError, DeviceError, FileFormatError, MissingFileError
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.loop import CollapseWarning, Trainer
from sdkit.training.run import Run
from sdkit.training.train import train
from tests.sdkit.training.files import random_file, write
from tests.tiny import IMAGE, TINY, sequences

# Random pictures and a few steps: that a code says nothing yet is no news but where it is asked for.
pytestmark = pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")

TERMS = {"loss", "nll", "nll_anchor", "kl_static", "kl_dynamic"}


class Log(Quiet):
    """A reporter that keeps what it is told, and may raise at a stage."""

    def __init__(self, stop_in: str = "", error: type[BaseException] = KeyboardInterrupt) -> None:
        self.stop_in, self.error = stop_in, error
        self.stages: list[tuple[str, int, int]] = []
        self.fields: set[str] = set()
        self.notes: list[str] = []

    def start(self, what: str, total: int) -> None:
        self.stages.append((what, total, 0))

    def advance(self, count: int = 1, **fields: float) -> None:
        what, total, done = self.stages[-1]
        self.stages[-1] = (what, total, done + count)
        self.fields |= set(fields)
        if self.stop_in and what.startswith(self.stop_in):
            raise self.error

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDKIT_RUN", raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out, which take most of the time of a tiny epoch."""
    monkeypatch.setattr("sdkit.training.loop.draw_curves", lambda metrics, terms, path: None)
    monkeypatch.setattr("sdkit.training.loop.draw_swaps", lambda model, batches, folder, epoch: None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return random_file(tmp_path / "random.h5")


def fit(data: Path, **settings: Any) -> Run:
    return train(data, **{"variant": "paper", "device": "cpu", "batch_size": 8, "epochs": 2, **TINY, **settings})


def weights(run: Run, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run.path / f"{which}.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in run.metrics()]


def test_the_run_folder(data: Path, tmp_path: Path) -> None:
    run = fit(data, epochs=3, swap_every=2, val_fraction=0.2, seed=5)
    assert run.path == Path("runs/random")
    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "metrics.jsonl",
        "curves.png",
        "best.safetensors",
        "last.safetensors",
        "state.pt",
        # The first epoch, every second and the last.
        *(f"swaps/epoch-000{n}.png" for n in (1, 2, 3)),
    }
    config = run.config
    assert (config.train.seed, config.train.epochs, config.facts.element) == (5, 3, IMAGE)
    assert (config.data.path, config.data.name) == (str(tmp_path / "random.h5"), "random")
    assert (config.data.train_count, config.data.val_count, config.data.steps) == (21, 5, 4)
    assert (config.method, config.plan.variant) == ("dbse", "paper")
    assert (config.facts.count, config.facts.steps, config.facts.feature_mean) == (21, 4, ())
    assert (config.torch_version, config.preset) == (str(torch.__version__), "")
    for picture in ("curves.png", "swaps/epoch-0001.png"):
        with Image.open(run.path / picture) as image:
            image.load()
            assert image.format == "PNG"


@pytest.mark.usefixtures("quick")
def test_metrics_hold_both_losses_and_both_divergences(data: Path) -> None:
    alpha, beta_static, beta_dynamic = 0.5, 0.25, 0.125
    run = fit(data, val_fraction=0.2, alpha=alpha, beta_static=beta_static, beta_dynamic=beta_dynamic)
    records = run.metrics()
    assert [record["epoch"] for record in records] == [1, 2]
    for record in records:
        assert record.keys() == {"epoch", "train", "val", "active_static", "active_dynamic", "seconds"}
        assert 0 <= record["active_static"] <= TINY["static_size"]
        assert 0 <= record["active_dynamic"] <= TINY["dynamic_size"]
        for part in ("train", "val"):
            t = record[part]
            assert t.keys() == TERMS
            total = t["nll"] + alpha * t["nll_anchor"] + beta_static * t["kl_static"] + beta_dynamic * t["kl_dynamic"]
            assert t["loss"] == pytest.approx(total, rel=1e-5)
            # Three steps other than the anchor, each of 768 values near the variance of uniform noise.
            assert t["nll"] / t["nll_anchor"] == pytest.approx(3, rel=0.05)
            assert 40 < t["nll_anchor"] < 120
    assert (run.path / "metrics.jsonl").read_text("utf-8").count("\n") == 2


@pytest.mark.usefixtures("quick")
def test_the_variant_is_the_methods_own_where_none_is_asked_for(data: Path) -> None:
    run = fit(data, variant=None, epochs=1)
    assert run.config.plan.variant == "filter"
    (record,) = run.metrics()
    assert record["train"].keys() == TERMS | {"kl_filter", "nll_filter"}


@pytest.mark.usefixtures("quick")
def test_facts_about_series_are_measured_on_the_training_split(tmp_path: Path) -> None:
    element = Element("series", (4, 2), "float32")
    x = sequences(20, 3, element) * np.array([10, 0.1], np.float32) + np.array([100, -1], np.float32)
    x[15:] += 50
    path = write(tmp_path / "s.h5", x, element, splits={"train": range(15), "val": range(15, 20)})
    run = train(path, device="cpu", epochs=1, batch_size=8, **{**TINY, "encoder_widths": [4], "decoder_widths": [4, 4]})
    facts = run.config.facts
    values = x[:15].reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(facts.feature_mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(facts.feature_std, values.std(0, ddof=1), rtol=1e-6)
    assert (facts.element, facts.steps, facts.count) == (element, 3, 15)


@pytest.mark.usefixtures("quick")
def test_without_validation_sequences_there_is_no_val(data: Path) -> None:
    (record,) = fit(data, epochs=1, val_fraction=0.0).metrics()
    assert record.keys() == {"epoch", "train", "active_static", "active_dynamic", "seconds"}


@pytest.mark.usefixtures("quick")
def test_training_learns(tmp_path: Path) -> None:
    x = np.empty((32, 4, 3, 16, 16), np.uint8)
    x[:] = np.arange(0, 256, 2).reshape(32, 4, 1, 1, 1)  # one grey level a frame
    run = fit(write(tmp_path / "grey.h5", x), epochs=8, learning_rate=1e-2, val_fraction=0.0)
    first, *_, last = run.metrics()
    assert last["train"]["nll"] < 0.6 * first["train"]["nll"]
    decoded = verbs(run.load_model("last")).reconstruct(x)
    assert np.abs(decoded - x).mean() < 40  # a grey of 127 would be 64 off


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("resident_gb", [4.0, 0.0], ids=["resident", "streamed"])
@pytest.mark.parametrize("variant", ["paper", "release"])
def test_two_and_two_epochs_are_four(data: Path, resident_gb: float, variant: str) -> None:
    settings = {"variant": variant, "resident_gb": resident_gb, "val_fraction": 0.2}
    whole = fit(data, name="whole", epochs=4, **settings)
    half = fit(data, name="half", epochs=2, **settings)
    assert not same(weights(half), weights(whole))
    resumed = train(resume=half.path, epochs=4, device="cpu")
    assert resumed.path == half.path
    assert same(weights(resumed), weights(whole))
    assert same(weights(resumed, "best"), weights(whole, "best"))
    assert timeless(resumed) == timeless(whole)
    assert resumed.config.train == whole.config.train


def as_before(run: Run) -> None:
    """Rewrite a run as it was written while there was one method: no version, weights of the loss in [train]."""
    config = json.loads((run.path / "config.json").read_text("utf-8"))
    facts = config.pop("facts")
    del config["version"], config["method"], config["train"]["gradient_clip"], facts["steps"], facts["count"]
    model = {**config.pop("settings"), **facts}
    weights = ("alpha", "beta", "beta_static", "beta_dynamic", "likelihood")
    config["train"] |= {name: model.pop(name) for name in weights}
    (run.path / "config.json").write_text(json.dumps({"model": model, **config}), "utf-8")
    state = torch.load(run.path / "state.pt", weights_only=True)
    state["optimizer"] = state.pop("optimizers")["model"]
    torch.save(state, run.path / "state.pt")


@pytest.mark.usefixtures("quick")
def test_a_run_of_before_there_were_methods_resumes_to_the_bit(data: Path) -> None:
    weights_of_loss = {"alpha": 0.4, "beta": 0.3, "beta_static": 0.1}
    whole = fit(data, name="whole", epochs=3, **weights_of_loss)
    half = fit(data, name="half", epochs=1, **weights_of_loss)
    as_before(half)
    resumed = train(resume=half.path, epochs=3, device="cpu")
    assert same(weights(resumed), weights(whole))
    assert timeless(resumed) == timeless(whole)
    written = json.loads((resumed.path / "config.json").read_text("utf-8"))
    assert (written["version"], written["method"]) == (2, "dbse")
    assert resumed.config.plan == whole.config.plan


@pytest.mark.usefixtures("quick")
def test_resuming_takes_the_newest_run_and_its_own_number_of_epochs(data: Path) -> None:
    run = fit(data, name="a", epochs=1)
    os.utime(run.path / "config.json", (1, 1))  # whatever the resolution of the clock of files
    fit(data, name="b", epochs=1)
    train(resume=True, epochs=2, device="cpu")
    assert [len(Run(Path("runs") / name).metrics()) for name in ("a", "b")] == [1, 2]
    before = weights(run)
    train(resume="a", device="cpu")
    assert same(weights(run), before)  # it had all its epochs


@pytest.mark.usefixtures("quick")
def test_seeds(data: Path) -> None:
    a, b, c = (fit(data, name=name, epochs=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert same(weights(a), weights(b))
    assert timeless(a) == timeless(b)
    assert not same(weights(a), weights(c))


@pytest.mark.usefixtures("quick")
def test_best_is_the_epoch_with_the_lowest_validation_loss(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter((3.0, 1.0, 2.0, 1.5, 0.5))

    def validate(trainer: Trainer) -> dict[str, Any]:
        return {"active_static": 1, "active_dynamic": 1, "val": dict.fromkeys(TERMS, next(losses))}

    def epochs(run: Run) -> list[str]:
        found = []
        for which in ("best", "last"):
            with safe_open(run.path / f"{which}.safetensors", "pt") as file:
                found.append(file.metadata()["epoch"])
        return found

    monkeypatch.setattr(Trainer, "_validate", validate)
    run = fit(data, epochs=3)
    assert epochs(run) == ["2", "3"]
    assert not same(weights(run, "best"), weights(run, "last"))
    assert same(dict(run.load_model("last").state_dict()), weights(run, "last"))
    assert same(dict(run.load_model().state_dict()), weights(run, "best"))
    assert epochs(train(resume=True, epochs=4, device="cpu")) == ["2", "4"]
    assert epochs(train(resume=True, epochs=5, device="cpu")) == ["5", "5"]


@pytest.mark.usefixtures("quick")
def test_reporter_hears_of_every_step(data: Path) -> None:
    log = Log()
    fit(data, val_fraction=0.2, reporter=log)
    assert sorted(log.stages[:2]) == [("loading", 5, 5), ("loading", 21, 21)]
    assert log.stages[2:] == [("epoch 1/2", 3, 3), ("epoch 2/2", 3, 3)]
    assert log.fields == TERMS - {"loss"}
    assert log.notes[0] == "runs/random: 21 training and 5 validation sequences on cpu"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_failure_in_the_first_epoch_leaves_no_folder(data: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fit(data, name="broken", reporter=Log("epoch 1", error))
    assert not Path("runs").exists()


@pytest.mark.usefixtures("quick")
def test_an_interrupted_run_resumes_as_if_nothing_had_been(data: Path) -> None:
    whole = fit(data, name="whole", epochs=3)
    with pytest.raises(KeyboardInterrupt):
        fit(data, name="stopped", epochs=3, reporter=Log("epoch 2"))
    stopped = Run(Path("runs/stopped"))
    assert len(stopped.metrics()) == 1
    assert not list(stopped.path.glob("**/*.part"))
    resumed = train(resume="stopped", device="cpu")
    assert same(weights(resumed), weights(whole))
    assert timeless(resumed) == timeless(whole)


@pytest.mark.usefixtures("quick")
def test_interrupted_while_writing_it_resumes_from_the_epoch_before(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(data, name="whole", epochs=3)

    def stop(metrics: list[Any], terms: Any, path: Path) -> None:
        if len(metrics) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sdkit.training.loop.draw_curves", stop)
        patch.setattr("sdkit.training.loop.SECONDS_BETWEEN_CURVES", 0)
        with pytest.raises(KeyboardInterrupt):
            fit(data, name="stopped", epochs=3)
    resumed = train(resume="stopped", device="cpu")
    assert same(weights(resumed), weights(whole))
    assert timeless(resumed) == timeless(whole)


@pytest.mark.usefixtures("quick")
def test_a_resumed_run_keeps_its_settings(data: Path) -> None:
    run = fit(data)
    before = (run.path / "config.json").read_bytes()
    changes: list[dict[str, Any]] = [
        {"method": "dbse"},
        {"beta": 0.1},
        {"seed": 1, "epochs": 3},
        {"preset": "mug"},
        {"variant": "release"},
        {"name": "other"},
    ]
    for change in changes:
        with pytest.raises(ConfigError, match=f"only epochs may change, not {next(iter(change))}"):
            train(resume=True, **change)
    with pytest.raises(ConfigError, match=r"has 2 epochs already; --epochs 1 cannot undo any"):
        train(resume=True, epochs=1, device="cpu")
    assert (run.path / "config.json").read_bytes() == before
    assert len(run.metrics()) == 2


@pytest.mark.usefixtures("quick")
def test_resuming_needs_data_and_state(data: Path, tmp_path: Path) -> None:
    run = fit(data, epochs=1)
    moved = data.rename(tmp_path / "moved.h5")
    with pytest.raises(MissingFileError, match=r"random\.h5 does not exist"):
        train(resume=True, epochs=2, device="cpu")
    grey = write(tmp_path / "grey.h5", sequences(20, 4)[:, :, :1], element=Element("image", (1, 16, 16), "uint8"))
    with pytest.raises(
        DataError, match=r"grey\.h5 holds image \(1, 16, 16\) uint8; the model takes image \(3, 16, 16\)"
    ):
        train(grey, resume=True, epochs=2, device="cpu")
    assert len(train(moved, resume=True, epochs=2, device="cpu").metrics()) == 2
    state = run.path / "state.pt"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(FileFormatError, match=r"state\.pt cannot be read"):
        train(moved, resume=True, epochs=3, device="cpu")
    state.unlink()
    with pytest.raises(MissingFileError, match="no complete epoch to resume from"):
        train(moved, resume=True, epochs=3, device="cpu")
    with pytest.raises(MissingFileError, match="nowhere is not a run"):
        train(resume="nowhere")


@pytest.mark.usefixtures("quick")
def test_collapse_is_told_once(data: Path) -> None:
    settings = {"epochs": 5, "alpha": 0.0, "beta": 1e5, "learning_rate": 1e-2}
    with pytest.warns(CollapseWarning) as told:
        run = fit(data, **settings)
    texts = [str(w.message) for w in told if w.category is CollapseWarning]
    assert len(texts) == 2
    assert texts[0].startswith("the static code has collapsed: none of its units varies over the data (epoch ")
    assert texts[0].endswith("lower beta_static, or raise alpha")
    assert texts[1].startswith("the dynamic code has collapsed")
    assert texts[1].endswith("lower beta_dynamic")
    last = run.metrics()[-1]
    assert (last["active_static"], last["active_dynamic"]) == (0, 0)
    log = Log()
    fit(data, reporter=log, **settings)
    assert next(note for note in log.notes if "collapsed" in note) == f"warning: {texts[0]}"


@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("error::sdkit.training.loop.CollapseWarning")
def test_codes_that_vary_are_no_collapse(tmp_path: Path) -> None:
    x = np.empty((32, 4, 3, 16, 16), np.uint8)
    x[:] = np.arange(0, 256, 2).reshape(32, 4, 1, 1, 1)
    run = fit(write(tmp_path / "grey.h5", x), epochs=4, beta=0.0, learning_rate=1e-2, val_fraction=0.0)
    last = run.metrics()[-1]
    assert last["active_static"] > 0
    assert last["active_dynamic"] > 0


@pytest.mark.usefixtures("quick")
def test_a_loss_that_is_not_finite_ends_training(data: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the loss became (nan|inf) in epoch 1; lower learning_rate, or set gradient_clip=1$"
    ):
        fit(data, learning_rate=1e30)
    assert not Path("runs").exists()


@pytest.mark.usefixtures("quick")
def test_epochs_before_a_loss_that_is_not_finite_are_kept(data: Path) -> None:
    run = fit(data, epochs=1)
    before = weights(run)
    state = torch.load(run.path / "state.pt", weights_only=True)
    state["optimizers"]["model"]["param_groups"][0]["lr"] = 1e30
    torch.save(state, run.path / "state.pt")
    with pytest.raises(ConfigError, match=r"in epoch 2; .* \(the epochs before are kept in runs/random\)"):
        train(resume=True, epochs=2, device="cpu")
    assert same(weights(run), before)
    assert len(run.metrics()) == 1


@pytest.mark.usefixtures("quick")
def test_gradients_are_clipped_where_it_is_asked_for(data: Path) -> None:
    """A limit that no gradient reaches changes nothing; a tight one shows in Adam's state, as steps have no scale."""
    free = fit(data, name="free", epochs=1)
    loose = fit(data, name="loose", epochs=1, gradient_clip=1e9)
    tight = fit(data, name="tight", epochs=1, gradient_clip=1e-3)
    assert same(weights(loose), weights(free))
    moments = {}
    for run in (free, tight):
        state = torch.load(run.path / "state.pt", weights_only=True)["optimizers"]["model"]["state"]
        moments[run.name] = max(entry["exp_avg"].abs().max().item() for entry in state.values())
    assert moments["tight"] < 1e-3 < moments["free"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("channels_last", [True, False])
def test_float32(data: Path, channels_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    autocast = torch.autocast

    def spy(kind: str, *args: Any, **kwargs: Any) -> Any:
        if args:
            seen.append(kwargs["enabled"])
        return autocast(kind, *args, **kwargs)

    monkeypatch.setattr("torch.autocast", spy)
    run = fit(data, precision="float32", channels_last=channels_last)
    assert seen
    assert not any(seen)
    assert {value.dtype for value in weights(run).values()} == {torch.float32, torch.int64}
    assert run.config.train.precision == "float32"


@pytest.mark.usefixtures("quick")
def test_bf16_is_refused_where_the_machine_has_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdkit.training.loop.bf16_available", lambda device: False)
    with pytest.raises(DeviceError, match="cpu has no bf16 instructions; use precision=float32 or auto"):
        fit(data, precision="bf16")
    assert not Path("runs").exists()
    assert len(fit(data, precision="auto", epochs=1).metrics()) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is not there")
def test_devices_that_are_not_there(data: Path) -> None:
    with pytest.raises(DeviceError, match="sees no CUDA device; use auto or cpu"):
        fit(data, device="cuda")
    with pytest.raises(ConfigError, match="unknown device 'tpu'"):
        fit(data, device="tpu")
    assert not Path("runs").exists()


@pytest.mark.usefixtures("quick")
def test_sequences_of_several_lengths(tmp_path: Path) -> None:
    path = write(tmp_path / "ragged.h5", sequences(30, 5), lengths=[2 + i % 4 for i in range(30)])
    run = fit(path, epochs=1, val_fraction=0.2)
    assert run.metrics()[0]["train"]["nll"] > 0
    assert run.config.data.steps == 5


def test_wrong_settings_are_told_before_data_are_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'beta'"):
        train(bta=1.0)
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_used_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.h5 does not exist"):
        train("none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FileFormatError):
        train("text.h5")
    odd = Element("image", (3, 12, 16), "uint8")
    with pytest.raises(ConfigError, match="12x16 cannot be halved 3 times"):
        fit(write(tmp_path / "odd.h5", sequences(12, 4, odd), odd))
    floats = Element("image", (3, 16, 16), "float32")
    path = write(tmp_path / "nan.h5", sequences(12, 4, floats), floats)
    with h5py.File(path, "r+") as file:
        file["data"][3, 2, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"nan\.h5: data set 'data' holds NaN"):
        fit(path, val_fraction=0.0)
    assert not Path("runs").exists()


@pytest.mark.usefixtures("quick")
def test_the_preset_is_that_of_the_data_sets_name(tmp_path: Path) -> None:
    path = random_file(tmp_path / "x.h5", name="mug")
    run = fit(path, epochs=1)
    assert run.path == Path("runs/mug")
    assert (run.config.preset, run.config.settings["alpha"], run.config.settings["beta"]) == ("mug", 0.05, 0.01)
    other = fit(path, epochs=1, preset="sprites", alpha=0.3)
    assert other.path == Path("runs/mug-2")
    settings = other.config.settings
    assert (other.config.preset, settings["pixel_scale"], settings["alpha"]) == ("sprites", 256.0, 0.3)


@pytest.mark.usefixtures("quick")
def test_the_built_in_data_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(name: str, path: Path, *, reporter: Any) -> Path:
        made.append(name)
        return random_file(path, name="puppets")

    monkeypatch.setattr("sdkit.training.train.make_dataset", make)
    for _ in range(2):
        run = train(epochs=1, device="cpu", batch_size=8, **TINY)
    assert made == ["puppets"]
    assert run.path == Path("runs/puppets-2")
    assert run.config.preset == "puppets"
    with SequenceFile("runs/data/puppets.h5") as file:
        assert file.count == 26
    assert json.loads((run.path / "config.json").read_text("utf-8"))["data"]["name"] == "puppets"
