"""Small networks that predict labels and targets from codes: the time series' downstream tasks (paper Tables 1 and 2).

The codes are fixed; only the head learns, on the training split. Epochs are chosen on the
validation split or fixed beforehand; the test split is used once, at the end. Everything runs on one CPU thread,
where heads this small are fastest, and is determined by its seed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdkit.evaluation.codes.linear import class_probabilities, logistic_regression
from sdkit.evaluation.downstream.results import (
    BinaryResult,
    BinaryScores,
    ClassResult,
    RegressionResult,
    auroc,
    binary_scores,
    both_classes,
    class_result,
    mean_absolute_error,
)
from sdkit.evaluation.downstream.splits import Floats, Ints, Split, Standardiser, observed_targets

LEARNING_RATE = 1e-3
"""Learning rate of Adam, in every head of the protocols."""


@dataclass(frozen=True)
class BinaryPredictor:
    """Predictor of a rare event, such as death, from all codes of a sequence.

    An LSTM reads the dynamic codes; its output at the last valid step and the static code pass through two layers.
    Protocol: cross-entropy, Adam, gradients clipped at norm 1, 41 epochs, no selection. Clinical outcomes are rare, so
    so a late epoch can be far from the best one; `selected` holds the scores of the epoch chosen on validation.
    """

    fixed_epochs: int = 41
    """Number of epochs that the protocol fixes."""
    epochs: int = 80
    """Number of epochs to choose from, at least `fixed_epochs`."""
    batch_size: int = 30
    standardise: bool = False
    """Whether every code dimension is brought to mean 0 and deviation 1 on the training split."""

    def run(self, train: Split, val: Split, test: Split, *, seed: int = 0) -> BinaryResult:
        """Return AUPRC (average precision) and AUROC.

        Raises:
            DataError: a split without labels 0 and 1 of both kinds.
        """
        for name, split in (("training", train), ("validation", val), ("test", test)):
            both_classes(split.asked(2), f"the {name} split")
        with _seeded(seed):
            inputs = _scaled(train, val, test) if self.standardise else (train, val, test)
            kept = self._train(*inputs[:2])
            return BinaryResult(**{name: _binary_scores(*net, *inputs[1:]) for name, net in kept.items()})

    def _train(self, train: Split, val: Split) -> dict[str, tuple["_SequenceHead", int]]:
        """Return the network and the epoch of each stopping rule."""
        net = _SequenceHead(train.static.shape[1], train.dynamic.shape[2], 1)
        data, labels = _SequenceData(train), torch.tensor(train.asked(2), dtype=torch.float32)
        watched = _SequenceData(val)

        def loss(rows: Tensor, _: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(data.through(net, rows)[:, 0], labels[rows])

        best, kept = -np.inf, {}
        for epoch in _epochs(net, loss, len(train), max(self.epochs, self.fixed_epochs), self.batch_size, clip=1.0):
            score = auroc(val.asked(2), watched.all(net)[:, 0].numpy())
            if score > best:
                best, kept["selected"] = score, (deepcopy(net), epoch)
            if epoch == self.fixed_epochs:
                kept["fixed"] = (deepcopy(net), epoch)
        return kept


@dataclass(frozen=True)
class StaticClassifier:
    """Classifier of the static code alone, with one small hidden layer.

    Protocol: 41 epochs of 5 passes each, cross-entropy, Adam; the weights with the lowest validation loss are used.
    """

    classes: int
    hidden: int = 4
    """Width of the hidden layer: 4 for PhysioNet's unit types, 12 for Beijing's months."""
    passes: int = 41 * 5
    batch_size: int = 30
    standardise: bool = False
    """Whether every code dimension is brought to mean 0 and deviation 1 on the training split."""

    def run(self, train: Split, val: Split, test: Split, *, seed: int = 0) -> ClassResult:
        """Return the accuracy of the network.

        Raises:
            DataError: labels that are missing or outside the classes.
        """
        inputs = _scaled(train, val, test) if self.standardise else (train, val, test)
        with _seeded(seed):
            size = train.static.shape[1]
            net = nn.Sequential(nn.Linear(size, self.hidden), nn.ReLU(), nn.Linear(self.hidden, self.classes))
            codes = [torch.tensor(s.static, dtype=torch.float32) for s in inputs]
            labels = [s.asked(self.classes) for s in inputs]
            return _classify(
                net, lambda part, rows: net(codes[part][rows]), labels, passes=self.passes, batch_size=self.batch_size
            )

    def logistic(self, train: Split, val: Split, test: Split) -> ClassResult:
        """Return the accuracy of a logistic regression on standardised codes, which has no epoch to choose.

        Raises:
            DataError: labels that are missing or outside the classes.
        """
        train, val, test = _scaled(train, val, test)
        model = logistic_regression(train.static, train.asked(self.classes), c=1.0)
        val_told, told = (class_probabilities(model, s.static, self.classes) for s in (val, test))
        return class_result((val.asked(self.classes), val_told), (test.asked(self.classes), told))


@dataclass(frozen=True)
class WindowRegressor:
    """Predictor of a target of every window from that window's dynamic code and the sequence's static code.

    Protocol: batch normalisation, layers of 32 and 8, absolute error in the target's units, Adam, 301 epochs, no
    selection. Every window keeps its own target, which is the primary reading. The published code reads the training
    targets in another order than the inputs, changed in every epoch; `shuffled_pairs` does the same for comparison with
    published figures and is to be labelled paper-compatible, since such pairs teach nothing but the
    targets' distribution.
    """

    epochs: int = 301
    batch_size: int = 10
    """Number of sequences in a batch, with all their windows."""
    learning_rate: float = LEARNING_RATE
    scale_targets: bool = False
    """Whether learning uses standard units of the training targets; errors are always in the target's units."""
    standardise: bool = False
    """Whether every code dimension is brought to mean 0 and deviation 1 on the training split."""
    shuffled_pairs: bool = False

    def run(self, train: Split, val: Split, test: Split, *, seed: int = 0) -> RegressionResult:
        """Return mean absolute errors.

        Raises:
            DataError: a split without targets.
        """
        splits = _scaled(train, val, test) if self.standardise else (train, val, test)
        scale = (
            Standardiser.fit(observed_targets(train)) if self.scale_targets else Standardiser(np.zeros(1), np.ones(1))
        )
        with _seeded(seed):
            net = self._train(splits[0], scale)
            predictions = [_predict_windows(net, s) * scale.std + scale.mean for s in splits]
        errors = [mean_absolute_error(p, s) for p, s in zip(predictions, splits, strict=True)]
        return RegressionResult(
            errors[2], errors[1], errors[0], predictions[2], "shuffled" if self.shuffled_pairs else "correct"
        )

    def _train(self, train: Split, scale: Standardiser) -> nn.Module:
        inputs, raw = _windows(train), observed_targets(train)
        targets = torch.tensor(np.where(np.isfinite(raw), scale(raw), np.nan), dtype=torch.float32)
        valid = torch.tensor(train.valid)
        net = nn.Sequential(
            nn.BatchNorm1d(inputs.shape[2]),
            nn.Linear(inputs.shape[2], 32),
            nn.LeakyReLU(0.01),
            nn.Linear(32, 8),
            nn.LeakyReLU(0.01),
            nn.Linear(8, targets.shape[2]),
        )

        def loss(rows: Tensor, positions: Tensor) -> Tensor:
            here = valid[rows]
            wanted = targets[positions if self.shuffled_pairs else rows][here]
            known = torch.isfinite(wanted)
            error: Tensor = (net(inputs[rows][here]) - wanted.nan_to_num()).abs()
            return error[known].sum() / known.sum().clamp_min(1)

        for _ in _epochs(net, loss, len(train), self.epochs, self.batch_size, learning_rate=self.learning_rate):
            pass
        return net


def fit_sequence_classifier(
    train: Split, val: Split, test: Split, *, classes: int, epochs: int = 40, batch_size: int = 30, seed: int = 0
) -> ClassResult:
    """Return the accuracy of the network of `BinaryPredictor` with C outputs, at the lowest validation loss.

    Raises:
        DataError: labels that are missing or outside the classes.
    """
    with _seeded(seed):
        net = _SequenceHead(train.static.shape[1], train.dynamic.shape[2], classes)
        data = [_SequenceData(s) for s in (train, val, test)]
        labels = [s.asked(classes) for s in (train, val, test)]
        return _classify(
            net,
            lambda part, rows: data[part].through(net, rows),
            labels,
            passes=epochs,
            batch_size=batch_size,
            clip=1.0,
        )


class _SequenceHead(nn.Module):
    """LSTM over the steps, whose output at the last valid step joins the static code, and two layers."""

    def __init__(self, static_size: int, step_size: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(step_size, 32, batch_first=True)
        self.head = nn.Sequential(nn.Linear(32 + static_size, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, outputs))

    def forward(self, static: Tensor, dynamic: Tensor, last: Tensor) -> Tensor:
        states, _ = self.lstm(dynamic)
        out: Tensor = self.head(torch.cat([states[torch.arange(len(last)), last], static], 1))
        return out


class _SequenceData:
    """Codes of a split as tensors."""

    def __init__(self, split: Split) -> None:
        self.static = torch.tensor(split.static, dtype=torch.float32)
        # Values beyond a sequence's end never reach its last valid step, but must not be NaN either.
        self.dynamic = torch.tensor(np.where(split.valid[..., None], split.dynamic, 0), dtype=torch.float32)
        self.last = torch.tensor(split.valid.sum(1) - 1)

    def through(self, net: nn.Module, rows: Tensor) -> Tensor:
        """Return the outputs (B, O) of some sequences."""
        out: Tensor = net(self.static[rows], self.dynamic[rows], self.last[rows])
        return out

    @torch.no_grad()
    def all(self, net: nn.Module) -> Tensor:
        """Return the outputs (N, O)."""
        return self.through(net, torch.arange(len(self.static)))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from a separate generator, on one thread, and restore the process afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _epochs(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    count: int,
    epochs: int,
    batch_size: int,
    *,
    learning_rate: float = LEARNING_RATE,
    clip: float | None = None,
) -> Iterator[int]:
    """Train a network, and yield each epoch's number once it is over, with the network in evaluation mode.

    `loss` takes the rows of a batch and their positions in the epoch.
    """
    optimiser = torch.optim.Adam(net.parameters(), lr=learning_rate)
    for epoch in range(1, epochs + 1):
        net.train()
        order = torch.randperm(count)
        for positions in torch.split(torch.arange(count), batch_size):
            rows = order[positions]
            optimiser.zero_grad()
            loss(rows, positions).backward()  # type: ignore[no-untyped-call]
            if clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimiser.step()
        net.eval()
        yield epoch


def _classify(
    net: nn.Module,
    logits: Callable[[int, Tensor], Tensor],
    labels: list[Ints],
    *,
    passes: int,
    batch_size: int,
    clip: float | None = None,
) -> ClassResult:
    """Train by cross-entropy and report the pass with the lowest validation loss.

    `logits` returns the outputs (B, C) of rows of a part: 0 for training, 1 for validation, 2 for test, as in `labels`.
    """
    train, val = (torch.tensor(part, dtype=torch.int64) for part in labels[:2])
    rows_of = [torch.arange(len(part)) for part in labels]
    best, state, chosen = float("inf"), net.state_dict(), 0

    def loss(rows: Tensor, _: Tensor) -> Tensor:
        return F.cross_entropy(logits(0, rows), train[rows])

    for epoch in _epochs(net, loss, len(train), passes, batch_size, clip=clip):
        with torch.no_grad():
            value = F.cross_entropy(logits(1, rows_of[1]), val).item()
        if value < best:
            best, state, chosen = value, deepcopy(net.state_dict()), epoch
    net.load_state_dict(state)
    with torch.no_grad():
        told = [logits(part, rows_of[part]).double().softmax(1).numpy() for part in (1, 2)]
    return class_result((labels[1], told[0]), (labels[2], told[1]), chosen)


def _binary_scores(net: "_SequenceHead", epoch: int, val: Split, test: Split) -> BinaryScores:
    val_told, told = (_SequenceData(s).all(net)[:, 0].double().sigmoid().numpy() for s in (val, test))
    return binary_scores((val.asked(2), val_told), (test.asked(2), told), epoch)


def _scaled(train: Split, *others: Split) -> tuple[Split, ...]:
    static, dynamic = Standardiser.fit(train.static), Standardiser.fit(train.dynamic[train.valid])
    return tuple(replace(s, static=static(s.static), dynamic=dynamic(s.dynamic)) for s in (train, *others))


def _windows(split: Split) -> Tensor:
    """Return every window's dynamic code joined with the sequence's static code, (N, T, D + S)."""
    static = np.broadcast_to(split.static[:, None], (*split.dynamic.shape[:2], split.static.shape[1]))
    dynamic = np.where(split.valid[..., None], split.dynamic, 0)
    return torch.tensor(np.concatenate([dynamic, static], 2), dtype=torch.float32)


@torch.no_grad()
def _predict_windows(net: nn.Module, split: Split) -> Floats:
    inputs = _windows(split)
    out = net(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2]).double().numpy()
    return np.where(split.valid[..., None], out, np.nan)
