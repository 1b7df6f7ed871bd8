"""Training a judge from labels, and finding one that was trained before."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdkit import elements
from sdkit.evaluation.base import JUDGES
from sdkit.evaluation.judge.classifier import (
    BATCH_SIZE,
    VERSION,
    EncoderInfo,
    Judge,
    JudgeInfo,
    JudgeNetwork,
    checked_labels,
)
from sdkit.evaluation.stage import stage
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SPLITS, Indices, SequenceFile
from sdkit.training.data import Batches, equal_lengths, split_indices
from sdkit.training.device import accelerator, bf16_available
from sdkit.training.statistics import feature_statistics

LEARNING_RATE = 1e-3
EPOCHS = 20
"""Largest number of epochs; training stops when every head is right on the whole validation split."""
SURE = 0.005
"""Validation loss in nats a factor below which a judge counts as sure. One that is right but unsure bounds IS and
H(y|x) of everything it sees, real sequences included."""
VAL_FRACTION = 0.05
RESIDENT_BYTES = 4e9
"""Bytes up to which data stay in memory while a judge is trained."""
SMALLEST_SIDE = 2
"""Pixels of the shorter side that the encoder of images leaves, as in the appendix for 64."""
DIGEST_ROWS = 32
"""Number of sequences whose values distinguish one data set from another."""


def train_judge(
    file: SequenceFile,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Judge:
    """Train a judge on a file's training split and return it at its best epoch.

    The loss is the sum of the factors' cross-entropies; Adam with a learning rate of 1e-3 on batches of 64. The
    validation split (else whole identities held out of the training split, else the training split itself) chooses the
    epoch by its loss and ends training once every head is right on all of it, and sure. The test split is never read.

    Raises:
        ConfigError: no labels, nothing to train on, or images of a size that cannot be encoded.
        DataError: labels or sequences that cannot be used.
        DeviceError: a device that is not available.
    """
    if epochs < 1:
        raise ConfigError(f"epochs = {epochs}; a judge needs at least 1")
    reporter = reporter or Quiet()
    labels = checked_labels(file)
    train, val = split_indices(file, VAL_FRACTION, seed)
    val = val if len(val) else train
    where = accelerator(device).device
    torch.manual_seed(seed)
    info = JudgeInfo(_encoder(file, train), file.factors, file.meta.name, seed)
    network = JudgeNetwork(info.encoder, info.factors)
    judge = Judge(info, network, where)
    batches = Batches(file, train, BATCH_SIZE, resident_bytes=RESIDENT_BYTES, device=where, reporter=reporter)
    targets = torch.from_numpy(labels[batches.index]).to(where)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    least, best = float("inf"), network.state_dict()
    for epoch in range(epochs):
        with stage(reporter, f"judge, epoch {epoch + 1}/{epochs}", batches.count(seed, epoch)):
            labelled = ((batch.x, targets[batch.rows]) for batch in batches.epoch(seed, epoch))
            _train_epoch(network.train(), optimizer, labelled, reporter)
        loss, accuracy = _validate(judge, file, val, labels)
        reporter.note(f"judge: least accuracy {min(accuracy.values()):.2%} on {len(val)} validation sequences")
        if loss < least:
            least, best = loss, {name: value.clone() for name, value in network.state_dict().items()}
            judge.info = msgspec.structs.replace(info, epochs=epoch + 1, val_accuracy=accuracy)
        if min(accuracy.values()) == 1.0 and loss < SURE * len(accuracy):
            break
    network.load_state_dict(best)
    return judge


def find_judge(
    file: SequenceFile,
    *,
    folder: str | Path = JUDGES,
    seed: int = 0,
    epochs: int = EPOCHS,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Judge:
    """Return the judge of a file: the one in `folder` when it was trained before on the same content, else a new one.

    A changed file, another seed or another number of epochs gets its own judge.

    Raises:
        ConfigError, DataError, DeviceError: as `train_judge`.
        FileFormatError: the folder holds something that is not a judge.
    """
    name = Path(file.meta.name or file.path.stem).name.lstrip(".") or "judge"  # a file may give its data any name
    path = Path(folder) / f"{name}-{_digest(file, seed, epochs)[:16]}"
    if path.is_dir():
        return Judge.load(path, device=device)
    (reporter or Quiet()).note(f"training the judge of {file.path}; it is kept in {path}")
    judge = train_judge(file, seed=seed, epochs=epochs, device=device, reporter=reporter)
    path.parent.mkdir(parents=True, exist_ok=True)
    judge.save(path, force=True)
    return judge


def _train_epoch(
    network: JudgeNetwork,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    reporter: Reporter,
) -> None:
    for x, y in batches:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16_available(x.device)):
            outputs = network(x)
        loss = torch.stack([F.cross_entropy(logits, y[:, i]) for i, logits in enumerate(outputs)]).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        optimizer.step()
        reporter.advance(1, loss=loss.item())


def _validate(judge: Judge, file: SequenceFile, index: Indices, labels: Indices) -> tuple[float, dict[str, float]]:
    """Return the loss (nats a sequence, summed over factors) and each factor's accuracy."""
    judge.network.eval()
    loss, right = 0.0, dict.fromkeys((f.name for f in judge.factors), 0)
    for rows, x in equal_lengths(file, index, BATCH_SIZE):
        for i, (name, p) in enumerate(judge.probabilities(x).items()):
            y = labels[rows, i]
            loss -= float(np.log(np.maximum(p[np.arange(len(y)), y], 1e-16)).sum()) / len(index)
            right[name] += int((p.argmax(1) == y).sum())
    return loss, {name: n / len(index) for name, n in right.items()}


def _encoder(file: SequenceFile, train: Indices) -> EncoderInfo:
    """Return an encoder with the kind's own widths; for pictures with as many halvings as their size allows."""
    element = file.element
    if element.traits.pictorial:
        widths, sides = elements.default_widths(element.kind)[0], element.shape[1:]
        halvings = 0
        while all(side % 2 ** (halvings + 1) == 0 for side in sides) and min(sides) >> halvings > SMALLEST_SIDE:
            halvings += 1
        return EncoderInfo(element, widths[:halvings])
    mean, std = feature_statistics(file, train)
    return EncoderInfo(element, (), tuple(mean.tolist()), tuple(std.tolist()))


def _digest(file: SequenceFile, seed: int, epochs: int) -> str:
    """Return a digest of the content that a judge learns from, and of its training settings."""
    digest = hashlib.sha256()
    about = [VERSION, seed, epochs, file.meta.name, file.data.shape, file.element, file.factors]
    digest.update(msgspec.json.encode(about))
    for part in (checked_labels(file), file.lengths(), *(file.split(name) for name in SPLITS)):
        digest.update(b"-" if part is None else str(part.shape).encode() + part.tobytes())
    rows = np.unique(np.linspace(0, file.count - 1, DIGEST_ROWS).round().astype(np.int64))
    digest.update(file.read(rows).tobytes())
    return digest.hexdigest()
