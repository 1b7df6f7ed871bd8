"""MoCoGAN: known answers of its losses, what each phase may change, gaps of the data, and that the game is learned."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdkit.methods.base import Batch, Facts
from sdkit.methods.graphs import verbs
from sdkit.methods.mocogan import CRITIC, GENERATOR, Mocogan, MocoganSettings
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.training.config import plan
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import IMAGE, sequences, tiny_batch, tiny_model

PARTS = {
    CRITIC: ("encoder.", "element_head.", "sequence_encoder.", "over_time."),
    GENERATOR: ("motion.", "decoder."),
}


def made(kind: str = "image", **changes: Any) -> Mocogan:
    model = tiny_model(method="mocogan", element=ELEMENTS[kind], **changes)
    assert isinstance(model, Mocogan)
    return model


def undecided(model: Mocogan) -> Mocogan:
    """Return a model whose critics say 0 to everything."""
    for head in (model.element_head, model.over_time.head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    return model


def series_with_gaps(batch: int = 6, steps: int = 5) -> Tensor:
    x = torch.from_numpy(sequences(batch, steps, ELEMENTS["series"]))
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = torch.nan
    return x


def test_critics_that_cannot_tell_cost_ln_2_an_answer() -> None:
    model = undecided(made(sequence_weight=3.0))
    batch = tiny_batch(sequences(6, 5))
    with torch.no_grad():
        critic, generator = model(batch, CRITIC), model(batch, GENERATOR)
    for name in ("critic_elements", "critic_sequences"):  # of true ones and of generated ones
        assert float(critic.terms[name]) == pytest.approx(2 * math.log(2))
    assert float(critic.loss) == pytest.approx(4 * math.log(2))
    for name in ("generator_elements", "generator_sequences"):
        assert float(generator.terms[name]) == pytest.approx(math.log(2))
    assert float(generator.loss) == pytest.approx((1 + 3.0) * math.log(2))


def test_certain_critics_cost_nothing_and_the_generator_much(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made(), torch.from_numpy(sequences(6, 5))

    def certain(given: Tensor) -> tuple[Tensor, Tensor]:
        sign = 20.0 if given is x else -20.0
        return torch.full((6,), sign), torch.full((6,), sign / 2)

    monkeypatch.setattr(model, "criticise", certain)
    batch = Batch(x, torch.arange(6))
    # Each of the two critics is right about true and generated sequences, one with 20 and one with 10.
    right = 2 * (math.log1p(math.exp(-20)) + math.log1p(math.exp(-10)))
    assert float(model(batch, CRITIC).loss) == pytest.approx(right, rel=1e-3)
    assert float(model(batch, GENERATOR).loss) == pytest.approx(20 + 10, rel=1e-3)


@pytest.mark.parametrize("phase", [CRITIC, GENERATOR])
@pytest.mark.parametrize("kind", sorted(ELEMENTS))
def test_a_phase_leaves_gradients_in_its_own_parameters_alone(phase: str, kind: str) -> None:
    model = made(kind).train()
    x = sequences(8, 5, ELEMENTS[kind])
    model(tiny_batch(x), phase).loss.backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, _ in model.named_parameters() if name.startswith(PARTS[phase])}
    own = {id(p) for p in model.phase_parameters(phase)}
    assert own == {id(p) for name, p in model.named_parameters() if name in reached}
    assert all(p.requires_grad for p in model.parameters())  # frozen for a moment only


def test_a_step_of_the_generator_helps_it_against_the_same_critics() -> None:
    model = made().train()
    batch = tiny_batch(sequences(16, 5))

    def loss() -> Tensor:
        torch.manual_seed(2)
        return model(batch, GENERATOR).loss  # type: ignore[no-any-return]

    before = loss()
    before.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(list(model.phase_parameters(GENERATOR)), 1e-2).step()
    assert loss().item() < before.item()


def test_motion_is_the_recursion_of_a_cell_from_0() -> None:
    model = made()
    gru, noise = model.motion.gru, torch.randn(3, 7, 4)
    cell = torch.nn.GRUCell(4, 4)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in gru.state_dict().items()})
    d, path = torch.zeros(3, 4), []
    for t in range(7):
        d = cell(noise[:, t], d)
        path.append(d)
    torch.testing.assert_close(model.motion(noise), torch.stack(path, 1))
    # A shorter draw is the beginning of a longer one.
    torch.testing.assert_close(model.motion(noise[:, :4]), torch.stack(path, 1)[:, :4])


@pytest.mark.parametrize("steps", [1, 2, 8, 28])
def test_critics_take_sequences_of_any_length(steps: int) -> None:
    model = made("vector")
    element, sequence = model.criticise(torch.randn(6, steps, *ELEMENTS["vector"].shape))
    assert element.shape == sequence.shape == (6,)


def test_the_critic_of_sequences_sees_the_order_of_steps_and_that_of_elements_does_not() -> None:
    model = made()
    x = torch.from_numpy(sequences(6, 1)).expand(6, 5, *IMAGE.shape).clone()
    x[:, 2:] = torch.from_numpy(sequences(6, 3, seed=1))
    told = model.over_time(model.sequence_encoder(x))
    assert not torch.allclose(told, model.over_time(model.sequence_encoder(x[:, [0, 2, 1, 3, 4]])), atol=1e-5)
    assert torch.allclose(model.encode(x)[:, 1], model.encode(x[:, [1]])[:, 0], atol=1e-5)


def test_generated_sequences_have_the_gaps_of_the_data() -> None:
    x, model = series_with_gaps(), made("series")
    assert torch.equal(torch.isnan(model.made_like(x)), torch.isnan(x))
    whole = sequences(6, 5, ELEMENTS["series"])
    assert not torch.isnan(model.made_like(torch.from_numpy(whole))).any()


def test_critics_see_values_that_were_not_observed_as_the_mean_of_their_feature() -> None:
    element, x = ELEMENTS["series"], series_with_gaps()
    features = element.shape[-1]
    facts = {"feature_mean": (2.0,) * features, "feature_std": (3.0,) * features}
    model, told = made("series", **facts), []
    for given in (x, torch.where(torch.isnan(x), 2.0, x)):
        torch.manual_seed(0)
        told.append(torch.stack(model.criticise(given)))
    torch.testing.assert_close(told[0], told[1])


def test_where_the_decoder_has_a_deviation_the_critics_see_draws() -> None:
    model, x = made("series"), torch.zeros(64, 5, *ELEMENTS["series"].shape)
    with torch.no_grad():
        for name, value in model.decoder.named_parameters():
            if name.startswith(("mean.", "std.")):
                value.zero_()
        drawn = model.made_like(x)
    # Half of the largest deviation, since the sigmoid of 0 is a half.
    assert float(drawn.std()) == pytest.approx(0.25, rel=0.05)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.01)


def test_training_takes_the_momentum_of_the_release_and_the_last_epoch() -> None:
    train = plan(IMAGE, method="mocogan").train
    assert (train.learning_rate, train.adam_beta1) == (2e-4, 0.5)
    model = made(critic_rate=0.5)
    assert model.settled == 1
    assert [model.phase_rate(phase) for phase in model.phases] == [0.5, 1.0]


class Waves:
    """Sequences of two features: a level that stays, and a wave of one frequency and random phase."""

    ELEMENT = Element("vector", (2,), "float32")
    TURN = 0.8

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def draw(self, count: int, steps: int = 8) -> Tensor:
        level = torch.randn(count, 1, generator=self.generator).expand(count, steps)
        phase = 2 * math.pi * torch.rand(count, 1, generator=self.generator)
        return torch.stack([level, torch.sin(phase + self.TURN * torch.arange(steps))], 2)

    def off_the_wave(self, x: Array) -> float:
        """Return the root mean square of x_{t+1} + x_{t-1} - 2 cos(turn) x_t, which is 0 for the wave."""
        wave = x[..., 1]
        return float(np.sqrt(np.square(wave[:, 2:] + wave[:, :-2] - 2 * math.cos(self.TURN) * wave[:, 1:-1]).mean()))


def test_the_game_teaches_levels_that_stay_and_a_wave_that_moves() -> None:
    waves = Waves()
    settings = MocoganSettings(
        encoder_widths=(32, 32), decoder_widths=(32, 32), static_size=4, dynamic_size=6, hidden_size=32
    )
    torch.manual_seed(0)
    model = Mocogan(settings, Facts(Waves.ELEMENT, 8, 1000, (0.0, 0.0), (1.0, 0.7)))
    adams = {
        phase: torch.optim.Adam(list(model.phase_parameters(phase)), 2e-3, betas=(0.5, 0.999)) for phase in model.phases
    }
    for _ in range(300):
        batch = Batch(waves.draw(64), torch.arange(64))
        for phase, adam in adams.items():
            model.zero_grad()
            model(batch, phase).loss.backward()
            adam.step()
    run = verbs(model)
    x = run.generate(400, 8, seed=1)
    level = x[..., 0]
    assert 0.5 < level.mean(1).std() < 1.5
    assert level.std(1).mean() < 0.5 * level.mean(1).std()
    assert 0.4 < x[..., 1].std() < 1.0
    # Values without an order in time would be 1.2 off.
    assert waves.off_the_wave(x) < 0.5
    # The level is the static code's: it remains when other dynamic codes are drawn.
    static = run.draw_static(400, 1)
    levels = [run.decode(Codes(static, run.draw_dynamic(400, 8, seed)))[..., 0].mean(1) for seed in (1, 2)]
    assert np.corrcoef(*levels)[0, 1] > 0.8
