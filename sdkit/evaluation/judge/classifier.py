"""The judge: a classifier of sequences that recognises the factors in a decoded sequence.

One classifier has a head for each labelled factor: the element's encoder, a bidirectional LSTM, the mean over the
steps, a linear layer for each factor. A score is only as good as its judge, so the judge's accuracy on real
sequences of the test split belongs beside every score (protocol: at least 99.9 % a head on Sprites).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sdkit import elements
from sdkit.elements import Network
from sdkit.evaluation.data import split_rows
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, MissingFileError
from sdkit.runtime.storage.output import replacing
from sdkit.runtime.storage.sequences import Factor, Indices, SequenceFile
from sdkit.training.data import equal_lengths
from sdkit.training.device import accelerator
from sdkit.training.weights import fill, read_weights, write_weights

Floats = NDArray[np.float32]
FORMAT = "sdkit-judge"
VERSION = 3
INFO_FILE, WEIGHTS_FILE = "judge.json", "weights.safetensors"

LSTM_WIDTH = 128
"""Width of the LSTM in each direction."""
BATCH_SIZE = 64


class Classifier(Protocol):
    """The interface that the scores need of a judge."""

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Factors that it judges, in the order of the file's labels."""

    def probabilities(self, x: Array) -> dict[str, Floats]:
        """Return probabilities (B, C) by factor for sequences (B, T, *element) in data units."""


class Extractor(Protocol):
    """The interface that distances between sets of sequences need of a judge."""

    def features(self, x: Array) -> Floats:
        """Return features (B, F) of sequences (B, T, *element) in data units."""


class EncoderInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a judge's encoder."""

    element: Element
    encoder_widths: tuple[int, ...] = ()
    """Channels or features of the encoder's layers; the kind's own when empty."""
    feature_mean: tuple[float, ...] = ()
    """Mean of each feature (F,) over the training values, where the kind of element is standardised."""
    feature_std: tuple[float, ...] = ()
    """Standard deviation of each feature (F,) over the training values, where the kind of element is standardised."""

    def network(self) -> Network:
        """Return the settings of the element networks."""
        # The decoder that is built as well is discarded, so it is made as small as possible where widths are given.
        decoder_widths = (1,) if self.encoder_widths else ()
        return Network(
            self.element,
            code_size=2,
            encoder_widths=self.encoder_widths,
            decoder_widths=decoder_widths,
            feature_mean=self.feature_mean,
            feature_std=self.feature_std,
        )


class JudgeInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contents of judge.json: what a judge judges, and how it was trained."""

    encoder: EncoderInfo
    factors: tuple[Factor, ...]
    data: str = ""
    """Name of the data set."""
    seed: int = 0
    epochs: int = 0
    """Epoch whose weights were kept."""
    val_accuracy: dict[str, float] = {}
    """Validation accuracy by factor, at that epoch."""
    format: str = FORMAT
    version: int = VERSION


class JudgeNetwork(nn.Module):
    """Network from (B, T, *element) in data units to logits (B, C) of each factor."""

    def __init__(self, info: EncoderInfo, factors: tuple[Factor, ...]) -> None:
        super().__init__()
        encoder, _ = elements.build(info.network())
        self.encoder = cast(nn.Module, encoder)
        self.lstm = nn.LSTM(encoder.features, LSTM_WIDTH, batch_first=True, bidirectional=True)
        self.heads = nn.ModuleList(nn.Linear(2 * LSTM_WIDTH, len(factor.values)) for factor in factors)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits of each factor; a batch holds sequences of one length, all of whose steps are valid."""
        return self.answers(self.pooled(x))

    def pooled(self, x: Tensor) -> Tensor:
        """Return the mean over steps of the LSTM's states (B, 2 * LSTM_WIDTH), from which the heads read."""
        features = self.encoder(x)
        with torch.autocast(x.device.type, enabled=False):
            hidden: Tensor = self.lstm(features.float())[0]
            return hidden.mean(1)

    def answers(self, pooled: Tensor) -> list[Tensor]:
        """Return the logits of each factor."""
        with torch.autocast(pooled.device.type, enabled=False):
            return [head(pooled) for head in self.heads]


class Judge:
    """A trained classifier of sequences.

    Args:
        info: element and factors that it judges.
        network: a network of the same element and factors.
        device: device on which it runs.
    """

    def __init__(self, info: JudgeInfo, network: JudgeNetwork, device: torch.device) -> None:
        self.info, self.device = info, device
        self.network = network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @property
    def element(self) -> Element:
        """Element of the sequences that it judges."""
        return self.info.encoder.element

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Factors that it judges, in the order of the file's labels."""
        return self.info.factors

    def probabilities(self, x: Array, *, batch_size: int = BATCH_SIZE) -> dict[str, Floats]:
        """Return the probability of each value of each factor, (B, C) float32 by name of the factor.

        Args:
            x: (B, T, *element) in data units: real sequences in the data set's dtype, or decoded ones in float32.
                Values that were not observed (NaN) count as their feature's mean.
            batch_size: number of sequences that run at a time.

        Raises:
            DataError: sequences of another element.
        """
        with torch.inference_mode():
            parts: list[list[Floats]] = [
                [F.softmax(logits, -1).cpu().numpy() for logits in self.network(batch)]
                for batch in self._batches(x, batch_size)
            ]
        return {f.name: np.concatenate(part) for f, part in zip(self.factors, zip(*parts, strict=True), strict=True)}

    def features(self, x: Array, *, batch_size: int = BATCH_SIZE) -> Floats:
        """Return what the heads read of sequences, (B, 2 * LSTM_WIDTH) float32; arguments as for `probabilities`.

        Raises:
            DataError: sequences of another element.
        """
        with torch.inference_mode():
            return np.concatenate([self.network.pooled(batch).cpu().numpy() for batch in self._batches(x, batch_size)])

    def _batches(self, x: Array, batch_size: int) -> Iterator[Tensor]:
        if x.ndim < 3 or x.shape[2:] != self.element.shape:
            raise DataError(f"x has shape {x.shape}; the judge takes (B, T, *element) of {self.element.describe()}")
        for start in range(0, len(x), batch_size):
            yield torch.from_numpy(np.ascontiguousarray(x[start : start + batch_size])).to(self.device)

    def accuracy(self, file: SequenceFile, split: str | None = "test") -> dict[str, float]:
        """Return the share of a split's real sequences that each head judges correctly.

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
        """Write weights.safetensors and judge.json into a new folder, completely or not at all.

        Raises:
            OutputExistsError, MissingFileError: it exists and `force` is off, or its parent does not.
        """
        weights = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        with replacing(folder, force=force) as temporary:
            temporary.mkdir()
            write_weights(temporary / WEIGHTS_FILE, weights)
            (temporary / INFO_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self.info)) + b"\n")
        return Path(folder)

    @staticmethod
    def load(folder: str | Path, *, device: str = "auto") -> "Judge":
        """Return a saved judge.

        Raises:
            MissingFileError: there is none.
            FileFormatError: its files do not parse or do not fit each other.
            ConfigError, DeviceError: a device that is not available.
        """
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
        network = JudgeNetwork(info.encoder, info.factors)
        fill(network, read_weights(folder / WEIGHTS_FILE), str(folder / WEIGHTS_FILE))
        return Judge(info, network, accelerator(device).device)


def labels_for(judge: Classifier, file: SequenceFile) -> Indices:
    """Return the labels (N, L) of a file, one column for each of the judge's factors.

    Raises:
        ConfigError: the file has no labels, or other factors than the judge.
        DataError: a label that is not a class of its factor.
    """
    labels = checked_labels(file)
    if file.factors != judge.factors:
        mine, theirs = ([f.name for f in factors] for factors in (judge.factors, file.factors))
        raise ConfigError(f"the judge was trained for the factors {mine}; {file.path} has {theirs}, or other values")
    return labels


def checked_labels(file: SequenceFile) -> Indices:
    """Return the labels (N, L) of a file, one column for each of its factors.

    Raises:
        ConfigError: the file has no labels.
        DataError: a label that is not a class of its factor.
    """
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
