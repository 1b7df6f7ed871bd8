import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sdkit.evaluation.judge import training as module
from sdkit.evaluation.judge.classifier import BATCH_SIZE, Judge
from sdkit.evaluation.judge.training import find_judge, train_judge
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, MissingFileError
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import Factor, Indices, SequenceFile, SequenceMeta, SequenceWriter
from sdkit.training.data import Batches
from tests.tiny import sequences

SMALL = Element("image", (1, 8, 8), "uint8")
SERIES = Element("series", (3, 2), "float32")
FACTORS = (Factor("light", "static", ("dim", "bright")), Factor("motion", "dynamic", ("down", "up", "still")))
STEPS = 3
ENOUGH = 60
SPLITS = {"train": range(120), "val": range(120, 150), "test": range(150, 180)}


class Notes(Quiet):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def lines(seed: int = 0, count: int = 180) -> tuple[Array, Indices]:
    """Return images of a dim or bright line that moves down, up or not at all, with a little noise, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(0, 2, count), rng.integers(0, 3, count)], 1)
    x = rng.integers(0, 20, (count, STEPS, 1, 8, 8), np.uint8)
    for i, (light, motion) in enumerate(labels):
        rows = (rng.choice([2, 5]) + np.array([1, -1, 0])[motion] * np.arange(STEPS)) % 8
        x[i, np.arange(STEPS), 0, rows] = (90, 230)[light]
    return x, labels


def write(
    path: Path,
    x: Array,
    labels: Indices | None,
    element: Element = SMALL,
    *,
    name: str = "lines",
    lengths: Indices | None = None,
) -> SequenceFile:
    meta = SequenceMeta(element, name, () if labels is None else FACTORS)
    with SequenceWriter(path, meta, compression="none") as writer:
        writer.write(x, labels=labels)
        if lengths is not None:
            writer.put("lengths", lengths)
        writer.splits(SPLITS if len(x) == 180 else {"train": range(len(x))})
    return SequenceFile(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> SequenceFile:
    return write(tmp_path_factory.mktemp("judge") / "lines.h5", *lines())


@pytest.fixture(scope="module")
def judge(file: SequenceFile) -> Judge:
    return train_judge(file, epochs=ENOUGH, device="cpu")


def test_it_learns_what_labels_tell(file: SequenceFile, judge: Judge) -> None:
    assert judge.factors == FACTORS
    assert judge.accuracy(file, "test") == {"light": 1.0, "motion": 1.0}
    assert judge.info.val_accuracy == {"light": 1.0, "motion": 1.0}
    assert 1 <= judge.info.epochs < ENOUGH  # it stopped by itself


def test_probabilities(file: SequenceFile, judge: Judge) -> None:
    x = file.read(slice(0, 7))
    p = judge.probabilities(x)
    assert {name: (values.shape, values.dtype) for name, values in p.items()} == {
        "light": ((7, 2), np.dtype(np.float32)),
        "motion": ((7, 3), np.dtype(np.float32)),
    }
    for name in p:
        np.testing.assert_allclose(p[name].sum(1), 1.0, atol=1e-6)
        np.testing.assert_allclose(judge.probabilities(x, batch_size=2)[name], p[name], atol=1e-5)
        np.testing.assert_allclose(judge.probabilities(x.astype(np.float32))[name], p[name], atol=1e-6)  # as decoded
    with pytest.raises(DataError, match=r"x has shape \(7, 3, 8, 8\); the judge takes .* image \(1, 8, 8\) uint8"):
        judge.probabilities(x[:, :, 0])


def test_features_are_what_the_heads_read(file: SequenceFile, judge: Judge) -> None:
    x = file.read(slice(0, 7))
    features = judge.features(x, batch_size=2)
    assert (features.shape, features.dtype) == ((7, 256), np.dtype(np.float32))
    told = judge.probabilities(x)
    for factor, logits in zip(judge.factors, judge.network.answers(torch.from_numpy(features)), strict=True):
        np.testing.assert_allclose(torch.softmax(logits, 1).detach().numpy(), told[factor.name], atol=1e-5)
    with pytest.raises(DataError, match=r"x has shape \(7, 3, 8, 8\); the judge takes"):
        judge.features(x[:, :, 0])


def test_a_seed_gives_the_same_judge(file: SequenceFile) -> None:
    first, again, other = (train_judge(file, seed=s, epochs=1, device="cpu") for s in (1, 1, 2))
    assert first.weights_sha256() == again.weights_sha256() != other.weights_sha256()


def test_the_test_split_is_never_read(tmp_path: Path, judge: Judge) -> None:
    x, labels = lines()
    x[150:], labels[150:] = 0, 0
    blank = train_judge(write(tmp_path / "blank.h5", x, labels), epochs=ENOUGH, device="cpu")
    assert blank.weights_sha256() == judge.weights_sha256()


def test_the_epoch_of_least_validation_loss_is_kept(file: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    half = {"light": 0.5, "motion": 0.5}
    losses = iter([3.0, 1.0, 2.0])
    seen: list[str] = []

    def validate(judge: Judge, *args: object) -> tuple[float, dict[str, float]]:
        seen.append(judge.weights_sha256())
        return next(losses), half

    monkeypatch.setattr(module, "_validate", validate)
    found = train_judge(file, epochs=3, device="cpu")
    assert (len(seen), found.info.epochs, found.info.val_accuracy) == (3, 2, half)
    assert found.weights_sha256() == seen[1]


def test_a_file_without_splits(tmp_path: Path) -> None:
    x, labels = lines(count=20)
    notes = Notes()
    train_judge(write(tmp_path / "all.h5", x, labels), epochs=1, device="cpu", reporter=notes)
    assert notes.notes[-1].endswith("on 20 validation sequences")  # two identities give none to hold out


def test_lengths_and_gaps_of_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.stack([rng.integers(0, 2, 180), rng.integers(0, 3, 180)], 1)
    x = rng.normal(0, 0.1, (180, 5, 3, 2)).astype(np.float32)
    x[..., 0] += 300 + 2 * labels[:, :1, None]
    x[..., 1] += ((labels[:, 1] - 1)[:, None] * np.arange(5))[:, :, None]
    lengths = rng.integers(3, 6, 180)
    x[rng.random(x.shape) < 0.1] = np.nan
    for row, length in enumerate(lengths):
        x[row, length:] = np.nan
    file = write(tmp_path / "series.h5", x, labels, SERIES, lengths=lengths)
    judge = train_judge(file, epochs=ENOUGH, device="cpu")
    assert min(judge.accuracy(file, "test").values()) > 0.9
    assert judge.info.encoder.feature_mean[0] == pytest.approx(np.nanmean(x[:120, ..., 0]))
    judge.save(tmp_path / "judge")
    again = Judge.load(tmp_path / "judge", device="cpu").probabilities(x[:4, :3])
    np.testing.assert_array_equal(again["light"], judge.probabilities(x[:4, :3])["light"])


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 16, 16), (3, 24, 40), (1, 28, 28), (1, 6, 6)])
def test_widths_fit_images_of_many_sizes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    element = Element("image", shape, "uint8")
    x = sequences(4, 2, element)
    labels = np.array([[0, 0], [1, 1], [0, 2], [1, 0]])
    judge = train_judge(write(tmp_path / "x.h5", x, labels, element), epochs=1, device="cpu")
    assert judge.probabilities(x)["motion"].shape == (4, 3)
    if shape == (3, 64, 64):
        assert judge.info.encoder.encoder_widths == (32, 64, 128, 256, 128)


def test_images_of_odd_sides(tmp_path: Path) -> None:
    element = Element("image", (1, 7, 8), "uint8")
    with pytest.raises(ConfigError, match="images of 7x8 cannot be halved"):
        train_judge(write(tmp_path / "x.h5", sequences(4, 2, element), np.zeros((4, 2), np.int64), element))


def test_a_saved_judge_judges_the_same(tmp_path: Path, file: SequenceFile, judge: Judge) -> None:
    folder = judge.save(tmp_path / "judge")
    assert sorted(p.name for p in folder.iterdir()) == ["judge.json", "weights.safetensors"]
    loaded = Judge.load(folder, device="cpu")
    assert loaded.info == judge.info
    assert loaded.weights_sha256() == judge.weights_sha256()
    x = file.read(slice(0, 5))
    np.testing.assert_array_equal(loaded.probabilities(x)["motion"], judge.probabilities(x)["motion"])


def test_folders_that_hold_no_judge(tmp_path: Path, judge: Judge) -> None:
    with pytest.raises(MissingFileError, match="none is not a judge"):
        Judge.load(tmp_path / "none")
    folder = judge.save(tmp_path / "judge")
    info = json.loads((folder / "judge.json").read_text())
    for change, message in (
        ({"version": 1}, "version 1; this sdkit reads sdkit-judge, version 3"),
        ({"surprise": 1}, "does not describe a judge"),
        ({"factors": []}, "does not hold the weights of this model"),
    ):
        (folder / "judge.json").write_text(json.dumps(info | change))
        with pytest.raises(FileFormatError, match=message):
            Judge.load(folder, device="cpu")
    (folder / "judge.json").write_text(json.dumps(info))
    (folder / "weights.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(FileFormatError, match="cannot be read"):
        Judge.load(folder, device="cpu")


def test_a_judge_is_found_again(tmp_path: Path, file: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, notes = tmp_path / "judges", Notes()
    first = find_judge(file, folder=folder, epochs=1, device="cpu", reporter=notes)
    (path,) = folder.iterdir()
    assert path.name.startswith("lines-")
    assert notes.notes[0] == f"training the judge of {file.path}; it is kept in {path}"
    moved = tmp_path / "elsewhere.h5"
    moved.write_bytes(file.path.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_judge", None)
        found = find_judge(SequenceFile(moved), folder=folder, epochs=1, device="cpu")
    assert found.weights_sha256() == first.weights_sha256()


def test_changed_content_has_a_judge_of_its_own(tmp_path: Path, file: SequenceFile) -> None:
    x, labels = lines()
    digests = {module._digest(file, 0, 1), module._digest(file, 1, 1), module._digest(file, 0, 2)}
    brighter, other = x.copy(), labels.copy()
    brighter[0, 0, 0, 0, 0] += 1
    other[5, 1] = (other[5, 1] + 1) % 3
    digests.add(module._digest(write(tmp_path / "a.h5", brighter, labels), 0, 1))
    digests.add(module._digest(write(tmp_path / "b.h5", x, other), 0, 1))
    digests.add(module._digest(write(tmp_path / "c.h5", x, labels, name="d"), 0, 1))
    digests.add(module._digest(write(tmp_path / "d.h5", x, labels, lengths=np.full(180, 2)), 0, 1))
    assert len(digests) == 7


def test_an_unfinished_judge_leaves_nothing(
    tmp_path: Path, file: SequenceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sdkit.evaluation.judge.classifier.write_weights", broken)
    with pytest.raises(KeyboardInterrupt):
        find_judge(file, folder=tmp_path / "judges", epochs=1, device="cpu")
    assert list((tmp_path / "judges").iterdir()) == []


def test_labels_that_cannot_be(tmp_path: Path) -> None:
    x, labels = lines(count=10)
    with pytest.raises(ConfigError, match="has no labelled factors; a judge is trained from labels"):
        train_judge(write(tmp_path / "bare.h5", x, None))
    labels[3, 1] = 3
    with pytest.raises(DataError, match=r"labels, row 3, column 1 is 3; factor 'motion' has the classes 0 to 2"):
        train_judge(write(tmp_path / "wrong.h5", x, labels))
    with pytest.raises(ConfigError, match="epochs = 0"):
        train_judge(write(tmp_path / "none.h5", x, None), epochs=0)


def test_batches_keep_their_labels(tmp_path: Path) -> None:
    x, labels = lines(count=100)
    x[:, 0, 0, 0, 0] = np.arange(100)
    file = write(tmp_path / "x.h5", x, labels)
    numbers = torch.arange(100)[:, None]
    for resident in (1e9, 0.0):
        batches = Batches(
            file, np.arange(100), BATCH_SIZE, resident_bytes=resident, device=torch.device("cpu"), reporter=Quiet()
        )
        for batch in batches.epoch(0, 0):
            assert batch.x[:, 0, 0, 0, 0].tolist() == numbers[batch.rows][:, 0].tolist()
