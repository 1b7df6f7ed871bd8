"""Initial weights of linear and recurrent layers: a signal keeps its scale from the data to the decoded data.

PyTorch's defaults shrink it at each layer. Through an encoder of ten layers, whose codes are drowned by a noise of
variance 1, and a decoder, so little of a series was left that training stood at the mean predictor for a thousand
steps.
"""

from itertools import pairwise

from torch import Tensor, nn

GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
"""Number of matrices that the weights of a recurrent layer hold."""


def initialise(module: nn.Module) -> None:
    """Draw new weights for the linear and recurrent layers of a module, with torch's global generator.

    Linear layers, and convolutions over time, get Glorot and Bengio's uniform weights, or those of He et al. where a
    rectifier follows in a `Sequential`; recurrent layers Glorot's for inputs and orthogonal ones for states (Saxe et
    al.). Biases start at 0. Convolutions of images, and layers of other kinds, keep their own.
    """
    rectified = {
        id(first) for part in module.modules() if isinstance(part, nn.Sequential) for first in _rectified(part)
    }
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d):
            (nn.init.kaiming_uniform_ if id(part) in rectified else nn.init.xavier_uniform_)(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.RNNBase):
            _recurrent(part)


def _rectified(layers: nn.Sequential) -> list[nn.Module]:
    """Return the layers that a rectifier follows."""
    return [a for a, b in pairwise(layers) if isinstance(b, nn.ReLU | nn.LeakyReLU)]


def _recurrent(layer: nn.RNNBase) -> None:
    count = next(count for kind, count in GATES.items() if isinstance(layer, kind))
    for name, weight in layer.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(weight)
            continue
        gates: tuple[Tensor, ...] = weight.data.chunk(count)
        for gate in gates:
            (nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_)(gate)
