from pathlib import Path

import numpy as np
import pytest
import torch

from sdkit.methods.base import Batch
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.data import Batches, split_indices
from tests.sdkit.training.files import TINY_IMAGE, numbered, write

MODES = {"resident": 1e9, "streamed": 0.0}
LENGTHS: list[int] = np.random.default_rng(0).integers(2, 5, 150).tolist()
"""Of sequences that fill three windows when streamed."""


class Loading(Quiet):
    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def start(self, what: str, total: int) -> None:
        self.total = total

    def advance(self, count: int = 1, **fields: float) -> None:
        self.done += count


def batches(file: SequenceFile, mode: str, size: int = 8, index: list[int] | None = None) -> Batches:
    return Batches(
        file,
        file.select(None) if index is None else np.array(index),
        size,
        resident_bytes=MODES[mode],
        device=torch.device("cpu"),
        reporter=Quiet(),
    )


def ids(batch: Batch) -> list[int]:
    """Return the numbers of a batch's sequences."""
    return [int(i) for i in batch.x[:, 0, 0, 0, 0]]


def visited(epoch: list[Batch]) -> list[int]:
    return [i for batch in epoch for i in ids(batch)]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(tmp_path: Path) -> SequenceFile:
    return SequenceFile(write(tmp_path / "n.h5", numbered(200), TINY_IMAGE))


@pytest.fixture
def ragged(tmp_path: Path) -> SequenceFile:
    return SequenceFile(write(tmp_path / "r.h5", numbered(150, 4), TINY_IMAGE, lengths=LENGTHS))


def test_mode_follows_from_the_size_of_the_split(file: SequenceFile) -> None:
    assert batches(file, "resident").resident is not None
    assert batches(file, "streamed").resident is None
    one = file.nbytes / file.count
    for count, resident in ((10, True), (11, False)):
        made = Batches(file, np.arange(count), 8, resident_bytes=10 * one, device=torch.device("cpu"), reporter=Quiet())
        assert (made.resident is not None) == resident


def test_every_sequence_comes_once_an_epoch(file: SequenceFile, mode: str) -> None:
    epoch = list(batches(file, mode).epoch(0, 0))
    assert [len(batch.x) for batch in epoch] == [8] * 25
    assert sorted(visited(epoch)) == list(range(200))
    assert visited(epoch) != list(range(200))
    expected = torch.from_numpy(numbered(200))
    for batch in epoch:
        assert batch.x.dtype == torch.uint8
        assert torch.equal(batch.x, expected[ids(batch)])


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_are_positions_in_the_split(ragged: SequenceFile, mode: str, shuffle: bool) -> None:
    split = list(range(3, 150, 2))
    made = batches(ragged, mode, size=4, index=split[::-1])
    for batch in made.epoch(2, 3, shuffle=shuffle):
        assert (batch.rows.dtype, batch.rows.shape) == (torch.int64, (len(batch.x),))
        assert [split[row] for row in batch.rows] == ids(batch)


def test_the_order_without_shuffling_is_the_files(file: SequenceFile, mode: str) -> None:
    epoch = list(batches(file, mode, size=48).epoch(0, 0, shuffle=False))
    assert visited(epoch) == list(range(200))


@pytest.mark.parametrize(("count", "seen"), [(200, 200), (195, 192), (139, 136), (140, 140), (3, 3)])
def test_a_last_batch_below_half_size_is_dropped(file: SequenceFile, mode: str, count: int, seen: int) -> None:
    made = batches(file, mode, index=list(range(count)))
    found = visited(list(made.epoch(0, 0)))
    assert len(found) == len(set(found)) == seen
    assert visited(list(made.epoch(0, 0, shuffle=False))) == list(range(count))


def test_what_is_dropped_changes_from_epoch_to_epoch(file: SequenceFile, mode: str) -> None:
    made = batches(file, mode, index=list(range(19)))
    missing = {frozenset(set(range(19)) - set(visited(list(made.epoch(0, n))))) for n in range(8)}
    assert {len(m) for m in missing} == {3}
    assert len(missing) > 4


def test_only_the_split_is_visited(file: SequenceFile, mode: str) -> None:
    odd = list(range(1, 200, 2))
    made = batches(file, mode, size=4, index=odd[::-1])
    assert sorted(visited(list(made.epoch(1, 1)))) == odd
    assert visited(list(made.epoch(1, 1, shuffle=False))) == odd


def test_an_epoch_follows_from_seed_and_number_alone(file: SequenceFile, mode: str) -> None:
    first = visited(list(batches(file, mode).epoch(3, 5)))
    used = batches(file, mode)
    list(used.epoch(3, 4))
    np.random.default_rng(0)
    torch.manual_seed(1)
    assert visited(list(used.epoch(3, 5))) == first
    assert visited(list(used.epoch(3, 6))) != first
    assert visited(list(used.epoch(4, 5))) != first


def test_streaming_shuffles_blocks_and_within_them(file: SequenceFile) -> None:
    order = np.array(visited(list(batches(file, "streamed").epoch(0, 0))))
    blocks = order // 64
    assert (np.diff(blocks) != 0).sum() == 3  # a whole block at a stretch
    assert blocks[0] != 0 or blocks[-1] != 3  # in another order
    for block in range(4):
        inside = order[blocks == block]
        assert (np.diff(inside) < 0).any()


def test_streaming_windows_hold_four_batches_and_grow_with_the_budget(tmp_path: Path, file: SequenceFile) -> None:
    made = batches(file, "streamed", size=64)
    assert (batches(file, "streamed").window, made.window) == (32, 256)
    order = np.array(visited(list(made.epoch(0, 0))))
    assert (np.diff(order // 64) != 0).sum() > 20  # all four blocks are mixed
    large = SequenceFile(write(tmp_path / "l.h5", np.tile(numbered(200), (3, 1, 1, 1, 1)), TINY_IMAGE))
    budget = 4 * 130 * large.nbytes / large.count
    made = Batches(large, np.arange(600), 8, resident_bytes=budget, device=torch.device("cpu"), reporter=Quiet())
    assert made.resident is None
    assert made.window == 128


@pytest.mark.parametrize("count", [200, 195, 67, 3])
def test_count_is_the_number_of_batches(file: SequenceFile, mode: str, count: int) -> None:
    made = batches(file, mode, index=list(range(count)))
    for number in range(3):
        assert made.count(0, number) == len(list(made.epoch(0, number)))


def test_ragged_batches_hold_one_length_and_are_trimmed(ragged: SequenceFile, mode: str) -> None:
    made = batches(ragged, mode, size=2)  # too small for a remainder to be dropped
    epoch = list(made.epoch(0, 0))
    assert sorted(visited(epoch)) == list(range(150))
    assert made.count(0, 0) == len(epoch)
    for batch in epoch:
        assert {LENGTHS[i] for i in ids(batch)} == {batch.x.shape[1]}
        assert [int(v) for v in batch.x[0, :, 0, 1, 1]] == list(range(batch.x.shape[1]))
    lengths = [batch.x.shape[1] for batch in epoch]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))  # lengths are mixed over the epoch


def test_ragged_sequences_all_come_without_shuffling(ragged: SequenceFile, mode: str) -> None:
    made = batches(ragged, mode, size=7, index=list(range(30, 60)))
    epoch = list(made.epoch(0, 0, shuffle=False))
    assert sorted(visited(epoch)) == list(range(30, 60))
    assert all({LENGTHS[i] for i in ids(batch)} == {batch.x.shape[1]} for batch in epoch)
    counts = [LENGTHS[30:60].count(length) for length in (2, 3, 4)]
    assert [sum(len(b.x) for b in epoch if b.x.shape[1] == length) for length in (2, 3, 4)] == counts
    assert len(epoch) == sum(-(-count // 7) for count in counts)


def test_loading_is_reported(file: SequenceFile) -> None:
    log = Loading()
    Batches(file, np.arange(10, 110), 8, resident_bytes=1e9, device=torch.device("cpu"), reporter=log)
    assert (log.total, log.done) == (100, 100)


def test_the_files_own_splits_are_taken(tmp_path: Path) -> None:
    splits = {"train": [5, 0, 1, 2], "val": [7, 3], "test": [4, 6]}
    with SequenceFile(write(tmp_path / "s.h5", numbered(9), TINY_IMAGE, splits=splits)) as file:
        train, val = split_indices(file, 0.5, 0)
    assert train.tolist() == [0, 1, 2, 5]
    assert val.tolist() == [3, 7]


def test_all_but_test_and_val_is_for_training_where_no_split_says(tmp_path: Path) -> None:
    with SequenceFile(write(tmp_path / "s.h5", numbered(9), TINY_IMAGE, splits={"val": [7, 3], "test": [4]})) as file:
        train, val = split_indices(file, 0.5, 0)
        assert train.tolist() == [0, 1, 2, 5, 6, 8]
        assert val.tolist() == [3, 7]
    with SequenceFile(write(tmp_path / "t.h5", numbered(9), TINY_IMAGE, splits={"test": [4, 5]})) as file:
        train, val = split_indices(file, 0.4, 0)
        assert sorted([*train.tolist(), *val.tolist()]) == [0, 1, 2, 3, 6, 7, 8]
        assert len(val) == 3


def test_nobody_is_on_both_sides(tmp_path: Path) -> None:
    # Identity is the pair of static labels; the dynamic label between them says nothing of it.
    labels = np.array([[i % 4, i % 7, i // 4 % 5] for i in range(160)])
    path = write(tmp_path / "s.h5", numbered(160), TINY_IMAGE, labels=labels, kinds="sds", splits={"test": range(20)})
    with SequenceFile(path) as file:
        seen = set()
        for seed in range(4):
            train, val = split_indices(file, 0.25, seed)
            assert sorted([*train.tolist(), *val.tolist()]) == list(range(20, 160))
            people = [{tuple(row) for row in labels[part][:, [0, 2]].tolist()} for part in (train, val)]
            assert not people[0] & people[1]
            assert (len(people[0]), len(people[1])) == (15, 5)
            assert [part.tolist() for part in split_indices(file, 0.25, seed)] == [train.tolist(), val.tolist()]
            seen.add(tuple(val.tolist()))
        assert len(seen) == 4


@pytest.mark.parametrize("kinds", ["", "d"])
def test_without_static_labels_sequences_are_held_out_at_random(tmp_path: Path, kinds: str) -> None:
    labels = np.zeros((40, 1), np.int64) if kinds else None
    with SequenceFile(write(tmp_path / "s.h5", numbered(40), TINY_IMAGE, labels=labels, kinds=kinds)) as file:
        train, val = split_indices(file, 0.25, 1)
        assert sorted([*train.tolist(), *val.tolist()]) == list(range(40))
        assert len(val) == 10
        assert val.tolist() != list(range(val[0], val[0] + 10))
        assert len(split_indices(file, 0.0, 1)[1]) == 0


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with (
        SequenceFile(write(tmp_path / "a.h5", numbered(4), TINY_IMAGE, splits={"train": []})) as file,
        pytest.raises(ConfigError, match=r"no sequence to train on"),
    ):
        split_indices(file, 0.1, 0)
    with (
        SequenceFile(write(tmp_path / "b.h5", numbered(4), TINY_IMAGE, splits={"test": range(4)})) as file,
        pytest.raises(ConfigError, match=r"no sequence to train on"),
    ):
        split_indices(file, 0.1, 0)
    one = np.zeros((4, 1), np.int64)
    with (
        SequenceFile(write(tmp_path / "c.h5", numbered(4), TINY_IMAGE, labels=one, kinds="s")) as file,
        pytest.raises(ConfigError, match=r"val_fraction = 0\.6 leaves no sequence"),
    ):
        split_indices(file, 0.6, 0)


@pytest.mark.parametrize("mode", MODES)
def test_batches_are_counted_without_loading(ragged: SequenceFile, mode: str) -> None:
    device = torch.device("cpu")
    counted = Batches(
        ragged, np.arange(150), 8, resident_bytes=MODES[mode], device=device, reporter=Quiet(), load=False
    )
    assert counted.resident is None
    drawn = batches(ragged, mode)
    assert counted.count(0, 1) == drawn.count(0, 1) == len(list(drawn.epoch(0, 1)))
