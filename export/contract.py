"""The contract of the graphs: names, dtypes and symbolic shapes, in the letters of the docstrings."""

from sdkit.models.config import ModelConfig
from sdkit.runtime.backend import STEP
from sdkit.runtime.manifest import Letters, TensorSpec

Signature = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]


def signatures(
    config: ModelConfig, letters: Letters, decoded: tuple[str, ...], state_size: int = 0
) -> dict[str, Signature]:
    """Return inputs and outputs of every graph, in the order of the contract.

    Args:
        config: of the model.
        letters: its widths.
        decoded: names of the decoder's outputs, `x` first.
        state_size: K, where the model can run online.
    """
    element, s, d = config.element, letters.static_size, letters.dynamic_size
    x: tuple[int | str, ...] = ("B", "T", *element.shape)
    features = _float("features", "B", "T", letters.features)
    hidden = _float("static_hidden", "B", letters.hidden_size)
    found: dict[str, Signature] = {
        "encoder": ((TensorSpec("x", element.dtype, x),), (features,)),
        "static": ((features,), (_float("static_mean", "B", s), _float("static_std", "B", s), hidden)),
        "dynamic": ((features, hidden), (_float("dynamic_mean", "B", "T", d), _float("dynamic_std", "B", "T", d))),
        "decoder": (
            (_float("static", "B", s), _float("dynamic", "B", "T", d)),
            tuple(_float(name, *x) for name in decoded),
        ),
        "prior": (
            (_float("noise", "B", "T", d),),
            (_float("dynamic", "B", "T", d), _float("dynamic_mean", "B", "T", d)),
        ),
    }
    if state_size:
        found[STEP] = (
            (_float("element_features", "B", 1, letters.features), _float("state", "B", state_size)),
            (
                _float("static_mean", "B", s),
                _float("dynamic_mean", "B", 1, d),
                _float("dynamic_std", "B", 1, d),
                _float("next_state", "B", state_size),
            ),
        )
    return found


def _float(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, "float32", shape)
