"""Settings of DBSE: widths, weights of the objective, and the switches of the dynamic path."""

from types import MappingProxyType
from typing import Any, Literal, get_args

from sdkit.methods.base import SplitSettings
from sdkit.runtime.contract import StaticPrior

Subtract = Literal["hidden", "features", "none"]
AnchorDynamic = Literal["zero", "inferred"]
Anchor = Literal["first", "middle", "last"]
Likelihood = Literal["sum", "mean"]

_PAPER: dict[str, Any] = {
    "subtract": "hidden",
    "anchor_dynamic": "zero",
    "bidirectional": False,
    "layers": 1,
    "filter": False,
}
_RELEASE: dict[str, Any] = {
    "subtract": "features",
    "anchor_dynamic": "inferred",
    "bidirectional": True,
    "layers": 2,
    "filter": False,
}
VARIANTS = MappingProxyType({"paper": _PAPER, "release": _RELEASE, "filter": {**_RELEASE, "filter": True}})
"""Settings of the named variants: the printed model, the model of the published code, and the latter with a causal
filter, which gives the codes."""


class DbseSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that determines a DBSE model except the data; the letters are those of the docstrings."""

    alpha: float = 0.2
    """Weight of the anchor's likelihood (Eq. 5)."""
    beta: float = 0.2
    """Weight of both divergences (Eq. 6)."""
    beta_static: float | None = None
    """Weight of the static code's divergence; `beta` when None."""
    beta_dynamic: float | None = None
    """Weight of the dynamic codes' divergence; `beta` when None."""
    likelihood: Likelihood = "sum"
    """Likelihood that alpha and beta are relative to: `sum` over a sequence's observed values (images and audio in
    Table 5) or `mean` over them (its time series)."""
    hidden_size: int = 256
    """Width H of the static hidden vector and of the LSTM, equal since one is subtracted from the other (Eq. 8)."""
    prior_hidden_size: int = 256
    """Width of the stacked LSTM layers of the prior."""
    prior_layers: int = 2
    """Number of LSTM layers of the prior."""
    subtract: Subtract = "hidden"
    """Quantity that the dynamic path subtracts: the static hidden vector from the LSTM's output (Eq. 8), the anchor's
    features from the LSTM's input, or nothing."""
    anchor_dynamic: AnchorDynamic = "zero"
    """Dynamic code of the anchor: the constant 0 (paper section 4), or inferred like that of every other step."""
    bidirectional: bool = False
    """Whether the LSTM of the dynamic path reads the sequence in both directions."""
    layers: int = 1
    """Number of layers of the LSTM of the dynamic path."""
    filter: bool = False
    """Whether a causal LSTM is trained beside the posterior to give its codes from the elements seen so far.

    In the terms of state-space models the posterior is then a smoother, q(d_t | x_1:T), which training needs, and the
    codes are those of a filter, q(d_t | x_1:t), which can run online.
    """
    anchor: Anchor = "first"
    """Position of the element from which the static code is read."""
    static_prior: StaticPrior = "fitted"
    """Prior that static codes are drawn from: `standard`, the model's N(0, I), or `fitted`, a mixture of Gaussians that
    is fitted to the codes of the training split once training is over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "hidden_size", "prior_hidden_size", "prior_layers", "layers")
        self.require_at_least(0, "alpha", "beta", "beta_static", "beta_dynamic")
        choices = (
            ("subtract", Subtract),
            ("anchor_dynamic", AnchorDynamic),
            ("anchor", Anchor),
            ("likelihood", Likelihood),
            ("static_prior", StaticPrior),
        )
        for name, known in choices:
            self.require_choice(name, get_args(known))

    @property
    def betas(self) -> tuple[float, float]:
        """Weights of the static and the dynamic divergence."""
        static = self.beta if self.beta_static is None else self.beta_static
        dynamic = self.beta if self.beta_dynamic is None else self.beta_dynamic
        return static, dynamic

    @property
    def causal(self) -> bool:
        """Whether a dynamic code depends on no later element except the anchor."""
        return self.filter or not self.bidirectional

    def anchor_index(self, steps: Any) -> Any:
        """Return the anchor's position among `steps` elements; works on ints and on traced sizes alike."""
        return {"first": 0, "middle": steps // 2, "last": steps - 1}[self.anchor]
