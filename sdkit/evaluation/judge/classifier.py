"""The judge: a classifier of sequences, trained from labels, that says what a decoded sequence shows.

One classifier has a head for each labelled factor: the element's encoder, a bidirectional LSTM, the mean over the
steps, a linear layer a factor. Whatever is scored by a judge is only as good as the judge, so its accuracy on real
sequences of the test split belongs beside every score (protocol: at least 99.9 % a head on Sprites).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sdkit import elements
from sdkit.methods.dbse.config import WIDTHS, ModelConfig
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, MissingFileError
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import replacing
from sdkit.runtime.storage.sequences import SPLITS, Factor, Indices, SequenceFile
from sdkit.training.data import Batches, equal_lengths, split_indices
from sdkit.training.device import accelerator, bf16_available
from sdkit.training.statistics import feature_statistics

Floats = NDArray[np.float32]
FORMAT = "sdkit-judge"
VERSION = 2
INFO_FILE, WEIGHTS_FILE = "judge.json", "weights.safetensors"

LSTM_WIDTH = 128
"""Of each direction."""
LEARNING_RATE = 1e-3
BATCH_SIZE = 64
EPOCHS = 20
SURE = 0.005
"""Nats a factor. A judge that is right but unsure caps IS and H(y|x) of everything it sees, real sequences included."""
"""At most: training stops when every head is right on the whole validation split."""
VAL_FRACTION = 0.05
RESIDENT_BYTES = 4e9
"""Data up to this size stay in memory while a judge is trained."""
SMALLEST_SIDE = 2
"""Pixels that the encoder of images leaves of the shorter side, as the appendix does of 64."""
DIGEST_ROWS = 32
"""Sequences whose values tell one data set from another."""


class Classifier(Protocol):
    """What the scores ask of a judge."""

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The factors that it judges, in the order of the file's labels."""

    def probabilities(self, x: Array) -> dict[str, Floats]:
        """Return (B, C) of each factor for (B, T, *element) sequences in data units."""


class JudgeInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a judge judges, and how it was trained: judge.json."""

    encoder: ModelConfig
    """Of which the element and what concerns the encoder count."""
    factors: tuple[Factor, ...]
    data: str = ""
    """Name of the data set."""
    seed: int = 0
    epochs: int = 0
    """The epoch whose weights were kept."""
    val_accuracy: dict[str, float] = {}
    """By factor, at that epoch."""
    format: str = FORMAT
    version: int = VERSION


class Network(nn.Module):
    """(B, T, *element) in data units -> logits (B, C) of each factor."""

    def __init__(self, config: ModelConfig, factors: tuple[Factor, ...]) -> None:
        super().__init__()
        encoder, _ = elements.build(config)
        self.encoder = cast(nn.Module, encoder)
        self.lstm = nn.LSTM(encoder.features, LSTM_WIDTH, batch_first=True, bidirectional=True)
        self.heads = nn.ModuleList(nn.Linear(2 * LSTM_WIDTH, len(factor.values)) for factor in factors)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits of each factor; a batch holds sequences of one length, all of whose steps are valid."""
        features = self.encoder(x)
        with torch.autocast(x.device.type, enabled=False):
            hidden, _ = self.lstm(features.float())
            mean = hidden.mean(1)
            return [head(mean) for head in self.heads]


class Judge:
    """A trained classifier of sequences.

    Args:
        info: what it judges.
        network: a network of the same element and factors.
        device: where it runs.
    """

    def __init__(self, info: JudgeInfo, network: Network, device: torch.device) -> None:
        self.info, self.device = info, device
        self.network = network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @property
    def element(self) -> Element:
        """The element of the sequences that it judges."""
        return self.info.encoder.element

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The factors that it judges, in the order of the file's labels."""
        return self.info.factors

    def probabilities(self, x: Array, *, batch_size: int = BATCH_SIZE) -> dict[str, Floats]:
        """Return the probability of each value of each factor, (B, C) float32 by name of the factor.

        Args:
            x: (B, T, *element) in data units: real sequences in the data set's dtype, or decoded ones in float32. What
                was not observed (NaN) counts as its feature's mean.
            batch_size: sequences that run at a time.

        Raises:
            DataError: sequences of another element.
        """
        if x.ndim < 3 or x.shape[2:] != self.element.shape:
            raise DataError(f"x has shape {x.shape}; the judge takes (B, T, *element) of {self.element.describe()}")
        parts: list[list[Floats]] = []
        with torch.inference_mode():
            for start in range(0, len(x), batch_size):
                batch = torch.from_numpy(np.ascontiguousarray(x[start : start + batch_size])).to(self.device)
                parts.append([F.softmax(logits, -1).cpu().numpy() for logits in self.network(batch)])
        return {f.name: np.concatenate(part) for f, part in zip(self.factors, zip(*parts, strict=True), strict=True)}

    def accuracy(self, file: SequenceFile, split: str | None = "test") -> dict[str, float]:
        """Return the share of a split's real sequences that each head judges rightly.

        Raises:
            ConfigError, DataError: no labels, other factors, no such split or an empty one.
        """
        labels, right = labels_for(self, file), np.zeros(len(self.factors), np.int64)
        index = split_rows(file, split)
        for rows, x in equal_lengths(file, index, BATCH_SIZE):
            judged = self.probabilities(x)
            right += [int((judged[f.name].argmax(1) == labels[rows, i]).sum()) for i, f in enumerate(self.factors)]
        return {f.name: int(n) / len(index) for f, n in zip(self.factors, right, strict=True)}

    def weights_sha256(self) -> str:
        """Return the SHA-256 of all weights in the order of their names, which identifies the judge of a table."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write weights.safetensors and judge.json into a new folder, whole or not at all.

        Raises:
            OutputExistsError, MissingFileError: it exists and `force` is off, or its parent does not.
        """
        from safetensors.torch import save_file

        weights = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        with replacing(folder, force=force) as temporary:
            temporary.mkdir()
            save_file(weights, temporary / WEIGHTS_FILE)
            (temporary / INFO_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self.info)) + b"\n")
        return Path(folder)

    @staticmethod
    def load(folder: str | Path, *, device: str = "auto") -> "Judge":
        """Return a saved judge.

        Raises:
            MissingFileError: there is none.
            FileFormatError: its files do not parse or do not fit each other.
            ConfigError, DeviceError: a device that cannot be had.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        for name in (INFO_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise MissingFileError(f"{folder / name} does not exist: {folder} is not a judge")
        try:
            info = msgspec.json.decode((folder / INFO_FILE).read_bytes(), type=JudgeInfo)
        except (msgspec.MsgspecError, UnicodeDecodeError, ConfigError) as error:
            raise FileFormatError(f"{folder / INFO_FILE} does not describe a judge: {error}") from error
        if (info.format, info.version) != (FORMAT, VERSION):
            raise FileFormatError(
                f"{folder / INFO_FILE} has format {info.format}, version {info.version}; "
                f"this sdkit reads {FORMAT}, version {VERSION}"
            )
        network = Network(info.encoder, info.factors)
        try:
            network.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except Exception as error:
            raise FileFormatError(f"{folder / WEIGHTS_FILE} does not hold the weights of this judge") from error
        return Judge(info, network, accelerator(device).device)


class _LabelledBatches(Batches):
    """Batches together with their labels."""

    def labelled(self, labels: Tensor, seed: int, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the shuffled batches (B, T, *element) of an epoch with their rows of labels (N, L) of the split."""
        for batch in self.epoch(seed, number):
            yield batch, labels[self._rows]

    def _trim(self, batch: Tensor, rows: Indices) -> Tensor:
        self._rows = torch.from_numpy(rows)  # of the batch that is yielded next
        return super()._trim(batch, rows)


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
        ConfigError: no labels, nothing to train on, or images too odd to encode.
        DataError: labels or sequences that cannot be.
        DeviceError: a device that is not there.
    """
    if epochs < 1:
        raise ConfigError(f"epochs = {epochs}; a judge needs at least 1")
    reporter = reporter or Quiet()
    labels = _labels(file)
    train, val = split_indices(file, VAL_FRACTION, seed)
    val = val if len(val) else train
    where = accelerator(device).device
    torch.manual_seed(seed)
    info = JudgeInfo(_encoder_config(file, train), file.factors, file.meta.name, seed)
    network = Network(info.encoder, info.factors)
    judge = Judge(info, network, where)
    batches = _LabelledBatches(file, train, BATCH_SIZE, resident_bytes=RESIDENT_BYTES, device=where, reporter=reporter)
    targets = torch.from_numpy(labels[batches.index]).to(where)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    least, best = float("inf"), network.state_dict()
    for epoch in range(epochs):
        with stage(reporter, f"judge, epoch {epoch + 1}/{epochs}", batches.count(seed, epoch)):
            _train_epoch(network.train(), optimizer, batches.labelled(targets, seed, epoch), reporter)
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
    folder: str | Path = RUNS / "judges",
    seed: int = 0,
    epochs: int = EPOCHS,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Judge:
    """Return the judge of a file: the one in `folder` when it was trained before on the same content, else a new one.

    A changed file, another seed or another number of epochs has a judge of its own.

    Raises:
        ConfigError, DataError, DeviceError: as `train_judge`.
        FileFormatError: what lies there is not a judge.
    """
    name = Path(file.meta.name or file.path.stem).name.lstrip(".") or "judge"  # a file may call its data what it likes
    path = Path(folder) / f"{name}-{_digest(file, seed, epochs)[:16]}"
    if path.is_dir():
        return Judge.load(path, device=device)
    (reporter or Quiet()).note(f"training the judge of {file.path}; it is kept in {path}")
    judge = train_judge(file, seed=seed, epochs=epochs, device=device, reporter=reporter)
    path.parent.mkdir(parents=True, exist_ok=True)
    judge.save(path, force=True)
    return judge


def labels_for(judge: Classifier, file: SequenceFile) -> Indices:
    """Return the labels (N, L) of a file, one column for each of the judge's factors.

    Raises:
        ConfigError: the file has no labels, or other factors than the judge.
        DataError: a label that is not a class of its factor.
    """
    labels = _labels(file)
    if file.factors != judge.factors:
        mine, theirs = ([f.name for f in factors] for factors in (judge.factors, file.factors))
        raise ConfigError(f"the judge was trained for the factors {mine}; {file.path} has {theirs}, or other values")
    return labels


def split_rows(file: SequenceFile, split: str | None) -> Indices:
    """Return the indices of a split.

    Raises:
        ConfigError: the file has no such split.
        DataError: it is empty.
    """
    index = file.select(split)
    if len(index) == 0:
        raise DataError(f"{file.path}: split '{split}' is empty")
    return index


@contextmanager
def stage(reporter: Reporter | None, what: str, total: int) -> Iterator[Reporter]:
    """Yield a reporter within a stage of work, which it ends whether it goes well or not."""
    reporter = reporter or Quiet()
    reporter.start(what, total)
    try:
        yield reporter
    finally:
        reporter.finish()


def _train_epoch(
    network: Network, optimizer: torch.optim.Optimizer, batches: Iterator[tuple[Tensor, Tensor]], reporter: Reporter
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


def _encoder_config(file: SequenceFile, train: Indices) -> ModelConfig:
    """Return a config whose encoder has the appendix's widths, with as many halvings as the images allow."""
    element = file.element
    changes: dict[str, Any] = {}
    if element.kind == "image":
        widths, sides = WIDTHS["image"][0], element.shape[1:]
        halvings = 0
        while all(side % 2 ** (halvings + 1) == 0 for side in sides) and min(sides) >> halvings > SMALLEST_SIDE:
            halvings += 1
        # The decoder that comes along is thrown away, so it is made as small as can be.
        changes = {"encoder_widths": widths[:halvings], "decoder_widths": (1,)}
    else:
        mean, std = feature_statistics(file, train)
        changes = {"feature_mean": tuple(mean.tolist()), "feature_std": tuple(std.tolist())}
    return ModelConfig(element, static_size=1, dynamic_size=1, **changes)


def _labels(file: SequenceFile) -> Indices:
    labels = file.labels()
    if labels is None or not file.factors:
        raise ConfigError(f"{file.path} has no labelled factors; a judge is trained from labels")
    labels = labels[:, : len(file.factors)]
    wrong = np.argwhere((labels < 0) | (labels >= [len(factor.values) for factor in file.factors]))
    if len(wrong):
        row, column = wrong[0]
        factor = file.factors[column]
        raise DataError(
            f"{file.path}: labels, row {row}, column {column} is {labels[row, column]}; "
            f"factor '{factor.name}' has the classes 0 to {len(factor.values) - 1}"
        )
    return labels


def _digest(file: SequenceFile, seed: int, epochs: int) -> str:
    """Return a digest of the content that a judge learns from, and of how it learns."""
    digest = hashlib.sha256()
    about = [VERSION, seed, epochs, file.meta.name, file.data.shape, file.element, file.factors]
    digest.update(msgspec.json.encode(about))
    for part in (_labels(file), file.lengths(), *(file.split(name) for name in SPLITS)):
        digest.update(b"-" if part is None else str(part.shape).encode() + part.tobytes())
    rows = np.unique(np.linspace(0, file.count - 1, DIGEST_ROWS).round().astype(np.int64))
    digest.update(file.read(rows).tobytes())
    return digest.hexdigest()
