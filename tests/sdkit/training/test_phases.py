"""What the loop asks of a method beside its loss: phases, stages, terms, `finish` and reasons of a collapse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training import checkpoint, loop
from sdkit.training.data import Batches, split_indices
from sdkit.training.loop import CollapseWarning
from sdkit.training.run import Run
from sdkit.training.train import train
from tests.rival import Rival
from tests.sdkit.training.files import random_file
from tests.tiny import TINY

SETTINGS = {name: TINY[name] for name in ("static_size", "dynamic_size", "encoder_widths", "decoder_widths")}
pytestmark = [
    pytest.mark.usefixtures("rival"),
    pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning"),
]


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "draw_curves", lambda metrics, terms, path: None)
    monkeypatch.setattr(loop, "draw_swaps", lambda model, batches, folder, epoch: None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return random_file(tmp_path / "random.h5")


def fit(data: Path, **settings: Any) -> Run:
    given = {"method": "rival", "device": "cpu", "batch_size": 8, "epochs": 2, "precision": "float32"}
    return train(data, **{**given, **SETTINGS, **settings})


def weights(run: Run, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run.path / f"{which}.safetensors")


def test_terms_of_all_phases_are_recorded(data: Path) -> None:
    for record in fit(data, val_fraction=0.2).metrics():
        assert record["train"].keys() == {"loss", "nll", "critic"}
        assert record["val"].keys() == {"loss", "nll"}  # of the first phase
        assert record["train"]["critic"] > 0
        # The weighted sum is that of both phases.
        assert record["train"]["loss"] != pytest.approx(record["train"]["nll"], rel=1e-3)


def test_each_phase_trains_its_own_parameters(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[tuple[str, set[str]]] = []
    forward = loop.Trainer._forward
    models: list[Rival] = []
    before: dict[str, torch.Tensor] = {}

    def watch(trainer: loop.Trainer, batch: Any, phase: str) -> Any:
        model = trainer.model
        assert isinstance(model, Rival)
        now = {name: value.detach().clone() for name, value in model.named_parameters()}
        if before and model.training:
            changed.append((phase, {name for name in now if not torch.equal(now[name], before[name])}))
        before.update(now)
        models.append(model)
        return forward(trainer, batch, phase)

    monkeypatch.setattr(loop.Trainer, "_forward", watch)
    fit(data, epochs=1, val_fraction=0.0)
    # What differs when a phase begins was changed by the phase before it.
    assert [phase for phase, _ in changed] == ["critic", "model"] * 2 + ["critic"]
    critic = {"critic.weight", "critic.bias"}
    everything = {name for name, _ in models[0].named_parameters()}
    for phase, names in changed:
        assert names == (critic if phase == "model" else everything - critic)


def test_phases_have_rates_a_momentum_and_clips_of_their_own(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rival, "phase_rate", lambda model, phase: 0.25 if phase == "critic" else 1.0)
    clipped: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def watch(parameters: Any, limit: float, **options: Any) -> torch.Tensor:
        norm = clip(parameters, limit, **options)
        clipped.append(sum(p.numel() for p in parameters))
        return norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watch)
    run = fit(data, epochs=1, learning_rate=4e-3, adam_beta1=0.5, gradient_clip=1.0)
    states = torch.load(run.path / "state.pt", weights_only=True)["optimizers"]
    groups = {phase: state["param_groups"][0] for phase, state in states.items()}
    assert {phase: group["lr"] for phase, group in groups.items()} == {"model": 4e-3, "critic": 1e-3}
    assert {group["betas"] for group in groups.values()} == {(0.5, 0.999)}
    model = run.load_model("last")
    # The model's loss has gradients of the critic's parameters too, which are none of its own.
    own = [sum(p.numel() for p in model.phase_parameters(phase)) for phase in model.phases]
    assert clipped == own * (len(clipped) // 2)


def test_a_phase_begins_without_gradients_of_another(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    models: list[Rival] = []
    forward, step = Rival.forward, torch.optim.Adam.step

    def keep(model: Rival, *args: Any) -> Any:
        models.append(model)
        return forward(model, *args)

    def watch(optimizer: torch.optim.Adam, *args: Any) -> Any:
        seen.append({name for name, p in models[-1].named_parameters() if p.grad is not None})
        return step(optimizer, *args)

    monkeypatch.setattr(Rival, "forward", keep)
    monkeypatch.setattr(torch.optim.Adam, "step", watch)
    fit(data, epochs=1)
    # The critic judges a code that is detached: no other parameter has a gradient of its loss.
    assert seen[1] == {"critic.weight", "critic.bias"}
    assert seen[0] > seen[1]


def test_phases_resume_to_the_bit(data: Path) -> None:
    whole = fit(data, name="whole", epochs=4)
    half = fit(data, name="half", epochs=2)
    resumed = train(resume=half.path, epochs=4, device="cpu")
    for which in ("last", "best"):
        found, expected = weights(resumed, which), weights(whole, which)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
    state = torch.load(resumed.path / "state.pt", weights_only=True)
    assert list(state["optimizers"]) == ["model", "critic"]


class Stops(Quiet):
    """Reports nothing and interrupts training when an epoch begins."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def start(self, what: str, total: int) -> None:
        if what.startswith(f"epoch {self.epoch}/"):
            raise KeyboardInterrupt


def staged(monkeypatch: pytest.MonkeyPatch, settled: float, losses: list[float]) -> list[int]:
    """Let the last stage begin at a share of the training, and validation find these losses, epoch by epoch.

    Return the epochs whose weights became the best, which training will append.
    """
    kept: list[int] = []
    save = checkpoint.save

    def watch(*args: Any, epoch: int, best: float, improved: bool) -> None:
        save(*args, epoch=epoch, best=best, improved=improved)
        kept.extend([epoch] if improved else [])

    def validate(trainer: loop.Trainer) -> dict[str, Any]:
        return {"val": {"loss": losses[trainer.epoch]}}

    monkeypatch.setattr(checkpoint, "save", watch)
    monkeypatch.setattr(Rival, "settled", settled)
    monkeypatch.setattr(loop.Trainer, "_validate", validate)
    return kept


@pytest.mark.parametrize(
    ("settled", "losses", "best"),
    [
        (0.0, [1.0, 2.0, 5.0, 4.0], [1]),
        (0.5, [1.0, 2.0, 5.0, 4.0], [1, 2, 3, 4]),
        (0.5, [1.0, 2.0, 4.0, 5.0], [1, 2, 3]),
        (0.3, [1.0, 2.0, 4.0, 5.0], [1, 2, 3]),  # the second epoch begins before the last stage does
        (0.25, [1.0, 2.0, 4.0, 5.0], [1, 2]),
        (1.0, [1.0, 2.0, 4.0, 5.0], [1, 2, 3, 4]),
    ],
)
def test_the_best_epoch_is_one_of_the_last_stage(
    data: Path, monkeypatch: pytest.MonkeyPatch, settled: float, losses: list[float], best: list[int]
) -> None:
    """Before the last stage the newest epoch replaces the one before, and the first of the stage replaces both."""
    kept = staged(monkeypatch, settled, losses)
    fit(data, epochs=4)
    assert kept == best


@pytest.mark.parametrize("broken", [2, 3, 4])
def test_a_resumed_run_compares_epochs_of_the_last_stage_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    kept = staged(monkeypatch, 0.5, [1.0, 2.0, 5.0, 6.0])
    with pytest.raises(KeyboardInterrupt):
        fit(data, epochs=4, name="broken", reporter=Stops(broken))
    train(resume="runs/broken", device="cpu")
    assert kept == [1, 2, 3]


def test_a_model_is_finished_on_few_batches_while_it_learns_and_on_all_at_the_end(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool, bool]] = []
    finish = Rival.finish

    def watch(model: Rival, batches: Any) -> None:
        finish(model, batches)
        seen.append((int(model.sequences), model.training, torch.is_grad_enabled()))

    monkeypatch.setattr(Rival, "finish", watch)
    monkeypatch.setattr(loop, "FEW_BATCHES", 2)
    run = fit(data, val_fraction=0.2)
    # After each epoch two batches of 8; then all 21 of the training split, for the best and for the last weights.
    assert seen == [(16, False, False)] * 2 + [(21, False, False)] * 2
    for which in ("best", "last"):
        model = run.load_model(which)
        assert isinstance(model, Rival)
        assert int(model.sequences) == 21
        assert model.centre.abs().max() > 0


@pytest.mark.parametrize("which", ["best", "last"])
def test_what_finish_finds_is_of_the_weights_that_it_is_kept_with(data: Path, which: Any) -> None:
    run = fit(data, epochs=3, learning_rate=0.05)
    assert not torch.equal(weights(run, "best")["static_head.bias"], weights(run, "last")["static_head.bias"])
    model, kept = run.load_model(which), weights(run, which)["centre"]
    file = SequenceFile(data)
    split = split_indices(file, run.config.train.val_fraction, run.config.train.seed)[0]
    batches = Batches(file, split, 8, resident_bytes=1e9, device=torch.device("cpu"), reporter=Quiet())
    with torch.no_grad():
        model.finish(batches.epoch(0, 0, shuffle=False))
    torch.testing.assert_close(model.centre, kept)


def test_a_method_without_advice_on_a_collapse_says_only_that_there_is_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "active_units", lambda means: 0)
    with pytest.warns(CollapseWarning) as told:
        fit(data, epochs=3)
    texts = [str(w.message) for w in told if w.category is CollapseWarning]
    assert texts == [
        f"the {code} code has collapsed: none of its units varies over the data (epoch 3)"
        for code in ("static", "dynamic")
    ]


def test_the_first_epochs_are_no_collapse(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "active_units", lambda means: 0)
    with pytest.warns(CollapseWarning) as told:
        fit(data, epochs=6)
    assert {str(w.message).partition("(epoch ")[2] for w in told if w.category is CollapseWarning} == {"3)"}
