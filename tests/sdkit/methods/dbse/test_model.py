import numpy as np
import pytest
import torch

from sdkit.methods.dbse.method import Dbse
from sdkit.methods.dbse.objective import TERMS
from sdkit.methods.dbse.paths import all_steps
from sdkit.methods.graphs import verbs
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError
from tests.sdkit.methods.dbse.tiny import tiny_dbse
from tests.tiny import sequences, tiny_batch, tiny_model

VARIANTS = ("paper", "release", "filter")
GOLDEN = {
    "paper": [0.175033, -0.096767, 0.123845, 0.258341, 0.468939],
    "release": [0.146354, 0.134991, -0.024671, -0.047136, 0.617171],
    "filter": [-0.122982, 0.074222, -0.114281, -0.306371, 0.541358],
}
"""Two values of the static mean, two of the last dynamic mean, and a pixel of the last frame, in [0, 1]."""


def loss(model: Dbse, x: Array) -> torch.Tensor:
    found: torch.Tensor = model(tiny_batch(x)).loss
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_numbers(variant: str) -> None:
    model, x = tiny_dbse(variant), sequences(2, 4)
    codes = verbs(model).encode(x)
    # Thirty times the codes, since an untrained decoder hardly hears them.
    frame = verbs(model).decode(Codes(30 * codes.static, 30 * codes.dynamic))[1, -1] / 255.0
    found = [*codes.static[1, :2], *codes.dynamic[1, -1, :2], frame[1, 9, 4]]
    np.testing.assert_allclose(found, GOLDEN[variant], atol=1e-4)


@pytest.mark.parametrize(("variant", "free"), [("paper", 4), ("release", 5), ("filter", 5)])
def test_shapes_of_an_output(variant: str, free: int) -> None:
    output = tiny_dbse(variant).output(torch.from_numpy(sequences(3, 5)))
    assert output.nll.shape == (3, 5)
    assert [part.shape for part in output.static] == [(3, 5)] * 2
    assert [part.shape for part in (*output.dynamic, *output.prior)] == [(3, free, 4)] * 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_draws_then_decodes_and_gives_the_prior_what_it_drew(variant: str) -> None:
    model, x = tiny_dbse(variant), torch.from_numpy(sequences(3, 5))
    with torch.no_grad():
        torch.manual_seed(3)
        output = model.output(x)
        torch.manual_seed(3)
        static, dynamic = model.posterior(x)
        s, d = static.sample(), dynamic.sample()
        codes = torch.cat([s[:, None].expand(-1, 5, -1), all_steps(model.settings, d)], -1)
        torch.testing.assert_close(output.nll, model.nll(model.decode(codes), x))
        torch.testing.assert_close(output.prior.mean, model.prior(d).mean)
    torch.testing.assert_close(output.static.mean, static.mean)
    torch.testing.assert_close(output.dynamic.log_variance, dynamic.log_variance)
    if variant == "paper":
        assert (codes[:, 0, 5:] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_every_parameter(variant: str) -> None:
    model = tiny_dbse(variant)
    torch.manual_seed(0)
    torch.autograd.backward(loss(model, sequences(3, 4)))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-7, name


def test_the_anchor_passes_no_gradient_to_the_zero_code() -> None:
    model = tiny_dbse()
    output = model.output(torch.from_numpy(sequences(2, 3)))
    torch.autograd.backward(output.nll[:, 0].sum())
    assert all(p.grad is None or not p.grad.any() for p in model.dynamic_path.parameters())
    assert model.static_path.head.mean.weight.grad.abs().max() > 0  # type: ignore[union-attr]


def test_learning_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model, x = tiny_dbse().train(), np.empty((4, 4, 3, 16, 16), np.uint8)
    x[:] = np.arange(0, 256, 16).reshape(4, 4, 1, 1, 1)  # one grey level a frame
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        value = loss(model, x)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    "element",
    [
        Element("image", (1, 16, 16), "float32"),
        Element("image", (3, 16, 32), "uint8"),
        Element("image", (1, 32, 16), "float32"),
    ],
    ids=lambda e: f"{e.shape}-{e.dtype}",
)
def test_other_images(element: Element) -> None:
    model, x = tiny_dbse(element=element), sequences(2, 3, element)
    decoded = verbs(model).reconstruct(x)
    assert decoded.shape == x.shape
    assert decoded.min() >= 0.0
    # Untrained, so grey throughout; but on the element's own scale.
    assert 0.2 < decoded.mean() / element.high < 0.8
    assert torch.isfinite(loss(model, x))


def test_autocast_leaves_the_recurrent_part_in_float32() -> None:
    model, x = tiny_dbse(), torch.from_numpy(sequences(2, 3))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = model.output(x)
        assert model.encoder(x).dtype == torch.bfloat16
    parts = (output.nll, *output.static, *output.dynamic, *output.prior)
    assert {part.dtype for part in parts} == {torch.float32}


def test_one_seed_one_model() -> None:
    a, b, c = (tiny_dbse(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["static_path.hidden.weight"], c["static_path.hidden.weight"])


def test_a_kind_without_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("sdkit.elements.importlib.import_module", missing)
    with pytest.raises(ConfigError, match="'spectrum'"):
        tiny_model(element=Element("spectrum", (6,), "float32"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_gives_the_terms_that_it_names(variant: str) -> None:
    found = tiny_dbse(variant)(tiny_batch(sequences(3, 4)))
    assert list(found.terms) == [term.name for term in TERMS[: None if variant == "filter" else 4]]
    assert found.static.shape == (3, 5)
    assert found.dynamic.shape == (3, 3 if variant == "paper" else 4, 4)
