"""Graphs that methods share, and the engine that runs a method's graphs during training.

A graph holds no random operation and no hidden unit: noise is an input, and data are in data units on both sides.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sdkit.methods.base import Method
from sdkit.methods.parts import gp
from sdkit.methods.parts.process import ProcessPrior, TimePath
from sdkit.methods.parts.recurrent_prior import RecurrentPrior
from sdkit.runtime.contract import Ports
from sdkit.runtime.element import Array
from sdkit.runtime.engines.torchscript import call_module
from sdkit.runtime.verbs.arrays import Verbs

NO_STATIC = "its method has no static code"
"""Reason for the verbs that need a static code, of methods that have none."""
WHOLE_SEQUENCE = "its static code is read from the whole sequence, which is not known before its last element"
"""Reason against a stream, of methods whose static code is known at the end only."""


class EncoderGraph(nn.Module):
    """x (B, T, *element) -> features (B, T, G)."""

    inputs, outputs = ("x",), ("features",)

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.encoder = method.encoder

    def forward(self, x: Tensor) -> Tensor:
        """Map data to features."""
        return self.encoder(x)  # type: ignore[no-any-return]


class NoStaticGraph(nn.Module):
    """features (B, T, G) -> static_mean (B, 1), static_std (B, 1), both 0: every method has a static code for hosts."""

    inputs, outputs = ("features",), ("static_mean", "static_std")

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return zeros."""
        zero = 0.0 * features[:, 0, :1]
        return zero, torch.zeros_like(zero)


class DecoderGraph(nn.Module):
    """static (B, S), dynamic (B, T, D) -> x (B, T, *element) float32 in data units, and x_std where there is one."""

    inputs = ("static", "dynamic")

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.decoder = method.decoder
        self.outputs: tuple[str, ...] = method.decoder.outputs  # type: ignore[assignment]

    def forward(self, static: Tensor, dynamic: Tensor) -> tuple[Tensor, ...]:
        """Map codes to data."""
        return self.decoder.in_units(self.decoder(join(static, dynamic)))  # type: ignore[operator, no-any-return]


class DynamicDecoderGraph(nn.Module):
    """dynamic (B, T, D) -> x (B, T, *element) float32 in data units, and x_std where there is one."""

    inputs = ("dynamic",)

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.decoder = method.decoder
        self.outputs: tuple[str, ...] = method.decoder.outputs  # type: ignore[assignment]

    def forward(self, dynamic: Tensor) -> tuple[Tensor, ...]:
        """Map codes to data."""
        return self.decoder.in_units(self.decoder(dynamic))  # type: ignore[operator, no-any-return]


class RecurrentPriorGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D) and dynamic_mean (B, T, D).

    The prior is fed its own samples, d_t = mu(d_<t) + sigma(d_<t) noise_t. Restricted to what TorchScript compiles,
    since a traced loop would keep the example's T.
    """

    inputs, outputs = ("noise",), ("dynamic", "dynamic_mean")
    compiled = True
    """Whether it is exported by the compiler instead of tracing: its loop must remain a loop."""

    def __init__(self, prior: RecurrentPrior) -> None:
        super().__init__()
        self.lstm, self.head, self.layers, self.width = prior.lstm, prior.head, prior.layers, prior.width

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Map noise to sampled dynamic codes and their means."""
        return self.rollout(noise)

    def rollout(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples and means of as many steps as there is noise for, both (B, T, D)."""
        h = torch.zeros(self.layers, noise.size(0), self.width, dtype=noise.dtype, device=noise.device)
        c = torch.zeros_like(h)
        d = torch.zeros_like(noise[:, :1])
        samples: list[Tensor] = []
        means: list[Tensor] = []
        for t in range(noise.size(1)):
            hidden, (h, c) = self.lstm(d, (h, c))
            mean, log_variance = self.head(hidden)
            d = mean + torch.exp(0.5 * log_variance) * noise[:, t : t + 1]
            samples.append(d)
            means.append(mean)
        return torch.cat(samples, 1), torch.cat(means, 1)


class StandardPriorGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D), the noise itself, and dynamic_mean (B, T, D) of 0: the prior N(0, I)."""

    inputs, outputs = ("noise",), ("dynamic", "dynamic_mean")

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise and zeros."""
        zero = torch.zeros_like(noise)
        return noise + zero, zero


class MarginalsGraph(nn.Module):
    """features (B, T, G) -> dynamic_mean (B, T, D), dynamic_std (B, T, D): the marginals of each step."""

    inputs, outputs = ("features",), ("dynamic_mean", "dynamic_std")
    compiled = True

    def __init__(self, path: TimePath) -> None:
        super().__init__()
        self.path = path

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to means and marginal standard deviations."""
        mean, diagonal, coupling = self.path(features)
        return mean, torch.sqrt(gp.variances(diagonal, coupling))


class CorrelatedPosteriorGraph(nn.Module):
    """features (B, T, G), noise (B, T, D) -> dynamic (B, T, D): a sample whose steps are correlated."""

    inputs, outputs = ("features", "noise"), ("dynamic",)
    compiled = True

    def __init__(self, path: TimePath) -> None:
        super().__init__()
        self.path = path

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Map features and noise to dynamic codes."""
        mean, diagonal, coupling = self.path(features)
        drawn: Tensor = mean + gp.draw(noise, diagonal, coupling)
        return drawn


class ProcessGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D), dynamic_mean (B, T, D) of 0: a draw from the Gaussian processes."""

    inputs, outputs = ("noise",), ("dynamic", "dynamic_mean")

    def __init__(self, prior: ProcessPrior) -> None:
        super().__init__()
        self.register_buffer("factors", prior.factors)

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Map noise to sampled dynamic codes: (T, T) leading blocks of the factors are the factors of T steps."""
        steps = noise.shape[1]
        block = self.factors[:, :steps, :steps]  # type: ignore[index]
        drawn = torch.matmul(block, noise.permute(2, 1, 0)).permute(2, 1, 0)
        return drawn, torch.zeros_like(noise)


class TorchBackend:
    """Runs the graphs on the training model itself, in float32 and evaluation mode."""

    name = "torch"

    def __init__(self, method: Method) -> None:
        self.method, self.graphs = method, method.graphs()
        self.ports = {name: ports(graph) for name, graph in self.graphs.items()}
        self.device = str(next(method.parameters()).device)

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on numpy arrays."""
        names, training = self.ports[graph], self.method.training
        if training:
            self.method.eval()
        try:
            return call_module(self.graphs[graph], [inputs[n] for n in names.inputs], names.outputs, self.device)
        finally:
            if training:
                self.method.train()


def ports(graph: nn.Module) -> Ports:
    """Return the names of a graph's inputs and outputs."""
    return Ports(tuple(graph.inputs), tuple(graph.outputs))  # type: ignore[arg-type]


def verbs(method: Method) -> Verbs:
    """Return encode, decode, swap, ... and streams on the training model."""
    return Verbs(TorchBackend(method), method.facts.element, method.widths, abilities=method.abilities)


def join(static: Tensor, dynamic: Tensor) -> Tensor:
    """Return [s, d_t], (B, T, S + D), from (B, S) and (B, T, D)."""
    repeated = static.unsqueeze(1).expand(-1, dynamic.shape[1], -1)
    return torch.cat([repeated, dynamic], -1)
