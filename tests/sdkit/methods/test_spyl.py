"""SPYL: views that the model decodes, the start of the contrasts, and the objective."""

import math
from typing import Any

import msgspec
import pytest
import torch

from sdkit.methods.base import Batch
from sdkit.methods.gaussian import Pass
from sdkit.methods.graphs import verbs
from sdkit.methods.parts.contrast import RANKS
from sdkit.methods.parts.gaussian import Gaussian
from sdkit.methods.spyl import Spyl, SpylSettings, Views, averaged
from sdkit.runtime.errors import ConfigError
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import sequences, tiny_batch, tiny_model

B, T = 6, 5
CONTRASTS = ("contrast_s", "contrast_d")


def model(**changes: Any) -> Spyl:
    found = tiny_model(method="spyl", **changes)
    assert isinstance(found, Spyl)
    return found


def batch(progress: float = 1.0, count: int = B) -> Batch:
    return tiny_batch(sequences(count, T))._replace(progress=progress)


def passed(found: Spyl, count: int = B) -> Pass:
    return found.posterior(found.encode(batch(count=count).x))


def test_loss_weighs_each_divergence_by_itself() -> None:
    found = model(beta=0.3, beta_static=0.6, contrast_weight=2.0, information_weight=0.7)
    losses = found(batch())
    terms = losses.terms
    expected = (
        terms["nll"]
        + 0.6 * terms["kl_s"]
        + 0.3 * terms["kl_d"]
        + 2.0 * (terms["contrast_s"] + terms["contrast_d"])
        + 0.7 * terms["information"]
    )
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert set(terms) == {term.name for term in Spyl.terms}
    for name in CONTRASTS:
        assert 0 < terms[name] <= math.log(1 + 3 * math.exp(4))  # three negatives, cosines from -1 to 1 over 1/2


def test_nothing_is_contrasted_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    found = model(contrast_start=0.25)
    assert found.settled == 0.25
    assert all(found(batch(0.25)).terms[name] > 0 for name in CONTRASTS)
    assert model(contrast_start=0.0).settled == 0.0
    monkeypatch.setattr(Spyl, "views", lambda *_: pytest.fail("views were made"))
    terms = found(batch(0.24)).terms
    assert [terms[name].item() for name in CONTRASTS] == [0.0, 0.0]


def test_positives_are_read_from_decoded_codes_of_their_own() -> None:
    found = model()
    with torch.no_grad():
        before = passed(found)
        torch.manual_seed(3)
        views = found.views(before)
        torch.manual_seed(3)
        drawn = found.drawn(2 * B, T)
        torch.randn(B, 5)  # static codes of the bank
        other = torch.randn(B, 5)
        x = verbs(found)
        static = x.backend.run("decoder", {"static": before.static.mean.numpy(), "dynamic": drawn[:B].numpy()})["x"]
        dynamic = x.backend.run("decoder", {"static": other.numpy(), "dynamic": before.dynamic.mean.numpy()})["x"]
        of_static = found.infer(found.encode(torch.from_numpy(static)))[0].mean
        of_dynamic = found.infer(found.encode(torch.from_numpy(dynamic)))[1].mean.mean(1)
    torch.testing.assert_close(views.static, of_static, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(views.dynamic, of_dynamic, atol=1e-5, rtol=1e-4)
    assert float((views.static - views.static[:1]).abs().max()) > 1e-5


def test_draws_of_the_prior_are_means_along_its_samples() -> None:
    found = model()
    torch.manual_seed(5)
    with torch.no_grad():
        means = found.drawn(3, T)
    torch.manual_seed(5)
    noise = torch.randn(3, T, 4)
    rolled = verbs(found).backend.run("prior", {"noise": noise.numpy()})
    torch.testing.assert_close(means, torch.from_numpy(rolled["dynamic_mean"]), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        taught = found.prior(torch.from_numpy(rolled["dynamic"])).mean
    torch.testing.assert_close(means, taught, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bank", [1, 4])
def test_the_bank_has_its_size_and_no_gradient(bank: int) -> None:
    found = model(bank=bank).train()
    views = found.views(passed(found))
    assert views.bank_static.mean.shape == (bank * B, 5)
    assert views.bank_dynamic.log_variance.shape == (bank * B, 4)
    assert not any(value.requires_grad for value in (*views.bank_static, *views.bank_dynamic))
    assert views.static.requires_grad
    assert views.dynamic.requires_grad


@pytest.mark.parametrize(("term", "own"), [("contrast_s", "static_path"), ("contrast_d", "dynamic_path")])
def test_contrasts_teach_decoder_and_encoder_but_not_the_prior(term: str, own: str) -> None:
    found = model()  # in training, batch norms of the views would join the two
    loss = found(batch()).terms[term]
    slopes = torch.autograd.grad(loss, list(found.parameters()), allow_unused=True)
    touched = {
        name.partition(".")[0]
        for (name, _), slope in zip(found.named_parameters(), slopes, strict=True)
        if slope is not None and slope.abs().sum() > 0
    }
    assert touched == {"encoder", "decoder", "trunk", own}


def test_contrasts_of_known_views() -> None:
    found = model(temperature=0.5)
    eye = torch.eye(4)
    s = torch.cat([eye, torch.zeros(4, 1)], 1)
    d = eye.unsqueeze(1).expand(-1, T, -1) + torch.linspace(-1, 1, T)[None, :, None]  # averages are those of eye
    none = Gaussian(s, torch.zeros_like(s)), Gaussian(d, torch.zeros_like(d))
    given = Pass(s, s, *none, s, d)
    bank_s, bank_d = Gaussian(-s, torch.zeros_like(s)), Gaussian(-eye, torch.zeros_like(eye))
    static, dynamic = found.contrast(given, Views(3 * s, 3 * eye, bank_s, bank_d))
    # The two farthest of four: the opposite of the anchor, at cosine -1, and one at cosine 0.
    expected = math.log(1 + math.exp((-1 - 1) / 0.5) + math.exp((0 - 1) / 0.5))
    assert static.item() == pytest.approx(expected, rel=1e-5)
    assert dynamic.item() == pytest.approx(expected, rel=1e-5)


def test_averages_over_time() -> None:
    given = Gaussian(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[-2.0], [0.0]]]))
    assert [part.tolist() for part in averaged(given)] == [[[2.0]], [[-1.0]]]


def test_positives_of_the_batch_are_samples_of_other_sequences() -> None:
    found = model(positives="batch")
    given = passed(found, 9)
    s, d = found.kept(given)
    for kept, samples in ((s, given.s), (d, given.d)):
        matches = (kept.flatten(1).unsqueeze(1) == samples.flatten(1)).all(-1)
        assert matches.sum(1).tolist() == [1] * 9
        assert not matches.diagonal().any()
    own = model().kept(given)
    assert torch.equal(own[0], given.static.mean)
    assert torch.equal(own[1], given.dynamic.mean)


@pytest.mark.parametrize("positives", ["predict", "batch"])
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_choice_of_views_takes_batches_of_any_size(positives: str, ranks: str, count: int) -> None:
    losses = model(positives=positives, negatives=ranks)(batch(count=count))
    assert torch.isfinite(losses.loss)
    assert all(losses.terms[name] > 0 for name in CONTRASTS)


@pytest.mark.parametrize("kind", ELEMENTS)
def test_views_are_decoded_in_data_units(kind: str) -> None:
    element = ELEMENTS[kind]
    measured = {"feature_mean": (50.0, -20.0, 0.0), "feature_std": (5.0, 0.5, 1.0)} if element.features else {}
    found = model(element=element, **measured)
    given: list[torch.Tensor] = []
    found.encoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    found(tiny_batch(sequences(B, T, element)))
    assert [len(x) for x in given] == [B, B, 2 * B]
    unit = 255.0 if element.dtype == "uint8" else 50.0
    assert 0.2 * unit < float(given[-1].detach().abs().max()) < 3 * unit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrast_start": 1.0}, "contrast_start = 1.0; it must be below 1"),
        ({"contrast_weight": -1.0}, "contrast_weight = -1.0; it must be at least 0"),
        ({"bank": 0}, "bank = 0; it must be at least 1"),
        ({"negatives": "near"}, "negatives = 'near'; choose one of soft, semi, hard"),
        ({"positives": "none"}, "positives = 'none'; choose one of predict, batch"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        msgspec.structs.replace(SpylSettings(), **changes)


def test_half_precision_changes_the_networks_of_elements_alone() -> None:
    found = model()
    losses = []
    for half in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses.append(found(batch()))
    for name, full in losses[0].terms.items():
        assert losses[1].terms[name].dtype == torch.float32
        assert losses[1].terms[name].item() == pytest.approx(full.item(), rel=0.05, abs=0.05)
