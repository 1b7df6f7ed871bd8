from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdkit.data import puppets
from sdkit.data.puppet_shapes import SHARES, Material
from sdkit.runtime.errors import ConfigError, DataError, OutputExistsError
from sdkit.runtime.storage.sequences import SPLITS, SequenceFile

CHARACTER = 523
MOTIONS = np.arange(9)

# Grey levels, mean over all values of a frame, background included. The smallest part, trousers seen from the side
# while one leg covers the other, is about 1 % of a frame.
VISIBLE = {"skin": 2.5, "hat": 3.0, "shirt": 1.0, "trousers": 0.5}
MOVED = 1.0
OTHER_MOTION = 5.0

POOLS = [[1231, 1064, 294, 407], [319, 1051, 336, 356], [134, 455, 764, 1213]]
"""First characters of train, val and test: if they change, old test characters leak into new training files."""


class Log:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.total, self.done, self.finished = 0, 0, False

    def start(self, what: str, total: int) -> None:
        self.total = total

    def advance(self, count: int = 1, **fields: float) -> None:
        self.done += count

    def note(self, message: str) -> None:
        pass

    def finish(self) -> None:
        self.finished = True


def numbers(digits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (B,) character numbers for (4, B) static values."""
    return np.asarray(np.ravel_multi_index(tuple(digits), puppets.STATIC), np.int64)


def siblings(factor: int) -> NDArray[np.int64]:
    """Return the six characters that differ from CHARACTER in one factor only."""
    digits = np.repeat(np.array(np.unravel_index(CHARACTER, puppets.STATIC))[:, None], 6, axis=1)
    digits[factor] = np.arange(6)
    return numbers(digits)


def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean absolute difference over the values of a frame, (..., T)."""
    return np.asarray(np.abs(a.astype(np.float64) - b).mean(axis=(-3, -2, -1)))


def pools_of(path: Path) -> dict[str, set[int]]:
    with SequenceFile(path) as file:
        labels = file.labels()
        assert labels is not None
        characters = numbers(labels[:, :4].T)
        return {split: set(characters[file.select(split)].tolist()) for split in SPLITS}


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return puppets.make(tmp_path_factory.mktemp("puppets") / "default.h5", compression="none")


def test_factors_are_four_static_ones_of_six_values_and_the_motion() -> None:
    factors = puppets.factors()
    assert [f.name for f in factors] == ["skin", "hat", "shirt", "trousers", "motion"]
    assert [f.kind for f in factors] == ["static"] * 4 + ["dynamic"]
    assert [len(set(f.values)) for f in factors] == [6, 6, 6, 6, 9]
    assert factors[-1].values[:4] == ("walk front", "walk left", "walk right", "wave front")


def test_draw_returns_frames_of_the_element() -> None:
    x = puppets.draw(np.array([0, 1295, 7]), np.array([0, 8, 3]))
    assert x.shape == (3, 8, 3, 64, 64)
    assert x.dtype == np.uint8
    assert puppets.draw(np.array([], int), np.array([], int)).shape == (0, 8, 3, 64, 64)


def test_draw_does_not_depend_on_the_batch() -> None:
    characters, motions = np.array([5, 700, 5, 41]), np.array([2, 8, 2, 0])
    x = puppets.draw(characters, motions)
    alone = [puppets.draw(characters[i : i + 1], motions[i : i + 1])[0] for i in range(4)]
    np.testing.assert_array_equal(x, np.stack(alone))
    np.testing.assert_array_equal(x[0], x[2])


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_pair_of_values_differs_visibly_in_every_frame_of_every_motion(motion: int) -> None:
    for factor in range(4):
        x = puppets.draw(siblings(factor), np.full(6, motion))
        pairs = [distance(x[i], x[j]).min() for i in range(6) for j in range(i)]
        assert min(pairs) > VISIBLE[puppets.factors()[factor].name]


def test_motions_differ_from_each_other_and_every_step_moves() -> None:
    x = puppets.draw(np.full(9, CHARACTER), MOTIONS)
    between = distance(x[:, None], x[None]).mean(axis=-1)
    assert between[~np.eye(9, dtype=bool)].min() > OTHER_MOTION
    steps = distance(x, np.roll(x, -1, axis=1))
    assert steps.min() > MOVED
    assert steps.max() < 35.0  # smooth: no step replaces the picture, the one from the last to the first included


def test_left_is_the_mirror_of_right() -> None:
    x = puppets.draw(np.full(9, CHARACTER), MOTIONS)
    np.testing.assert_array_equal(x[1::3], x[2::3, ..., ::-1])


def test_nothing_leaves_the_frame() -> None:
    for hat in siblings(1):
        x = puppets.draw(np.full(9, hat), MOTIONS)
        background = np.array(puppets.COMMON[Material.BACKGROUND], np.uint8).reshape(3, 1)
        for border in (x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]):
            assert (border == background).all()


def test_shares_of_materials_are_whole() -> None:
    for motion in MOTIONS:
        assert (puppets._shares(0, int(motion)).sum(axis=0) == SHARES).all()


def test_default_file(default: Path) -> None:
    with SequenceFile(default) as file:
        assert (file.count, file.steps, file.element.shape, file.element.dtype) == (2970, 8, (3, 64, 64), "uint8")
        assert (file.factors, file.meta.rate, file.element.units) == (puppets.factors(), 8.0, ("grey level",))
        assert file.meta.name == "puppets"
        assert (file.meta.source, file.meta.licence) == ("drawn by sdkit", "CC0-1.0")
        labels = file.labels()
        assert labels is not None
        assert [len(file.select(split)) for split in SPLITS] == [2160, 270, 540]
        assert len(np.unique(labels, axis=0)) == 2970
        for split in SPLITS:
            assert len(set(np.bincount(labels[file.select(split), 4]).tolist())) == 1
        assert file.select("test").max() > 2900  # shuffled over the whole file


def test_labels_say_what_is_drawn(default: Path) -> None:
    with SequenceFile(default) as file:
        index = np.array([0, 17, 1200, 2969])
        labels = file.labels()
        assert labels is not None
        characters = numbers(labels[index, :4].T)
        np.testing.assert_array_equal(file.read(index), puppets.draw(characters, labels[index, 4]))
        np.testing.assert_array_equal(puppets.labels(characters, labels[index, 4]), labels[index])


def test_characters_never_change_split(default: Path, tmp_path: Path) -> None:
    first = pools_of(default)
    assert [len(first[split]) for split in SPLITS] == [240, 30, 60]
    for seed in (1, 2):
        other = pools_of(puppets.make(tmp_path / f"{seed}.h5", count=700, seed=seed))
        assert other["train"] != first["train"]
        for a in SPLITS:
            assert other[a] <= set(puppets.pool(a).tolist())
            assert all(not first[a] & other[b] for b in SPLITS if b != a)
    assert sorted(np.concatenate([puppets.pool(split) for split in SPLITS]).tolist()) == list(range(1296))


def test_pools_stay_as_they_were_published() -> None:
    assert [puppets.pool(split)[:4].tolist() for split in SPLITS] == POOLS


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [puppets.make(tmp_path / name, count=40, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))]
    a, b, c = (path.read_bytes() for path in paths)
    assert a == b
    assert a != c


def test_one_split_holds_only_its_pool_in_balanced_motions(tmp_path: Path) -> None:
    path = puppets.make(tmp_path / "test.h5", count=31, split="test")
    with SequenceFile(path) as file:
        assert file.select("test").tolist() == list(range(31))
        assert file.split("train") is None
        assert file.split("val") is None
        labels = file.labels()
        assert labels is not None
        assert len(np.unique(labels, axis=0)) == 31
        assert sorted(np.bincount(labels[:, 4], minlength=9).tolist()) == [3] * 5 + [4] * 4
        characters = numbers(labels[:, :4].T)
        assert set(characters.tolist()) <= set(puppets.pool("test").tolist())


def test_split_alone_is_that_part_of_the_default_file(default: Path, tmp_path: Path) -> None:
    path = puppets.make(tmp_path / "val.h5", split="val")
    with SequenceFile(path) as part, SequenceFile(default) as whole:
        a, b = part.labels(), whole.labels()
        assert a is not None
        assert b is not None
        assert sorted(map(tuple, a.tolist())) == sorted(map(tuple, b[whole.select("val")].tolist()))


@pytest.mark.parametrize(("count", "sizes"), [(1, [1, 0, 0]), (11, [8, 1, 2]), (25, [19, 2, 4])])
def test_count_is_shared_out_8_1_2(tmp_path: Path, count: int, sizes: list[int]) -> None:
    with SequenceFile(puppets.make(tmp_path / "n.h5", count=count)) as file:
        assert file.count == count
        found = [file.split(split) for split in SPLITS]
        assert [0 if part is None else len(part) for part in found] == sizes


def test_more_sequences_than_a_pool_has_repeat(tmp_path: Path) -> None:
    characters, motions, parts = puppets._choose(118 * 9 + 5, "val", 0)
    assert len(parts["val"]) == len(characters) == 118 * 9 + 5
    assert len(np.unique(np.stack([characters, motions]), axis=1).T) == 118 * 9


def test_reporter_hears_of_every_sequence(tmp_path: Path) -> None:
    log = Log()
    puppets.make(tmp_path / "n.h5", count=70, reporter=log)
    assert (log.total, log.done, log.finished) == (70, 70, True)


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "n.h5"
    for bad in ({"count": 0}, {"count": -3}, {"split": "dev"}, {"split": "dev", "count": 2}, {"seed": -1}):
        with pytest.raises(ConfigError):
            puppets.make(path, **bad)
    with pytest.raises(ConfigError, match="compression"):
        puppets.make(path, count=1, compression="zip")
    assert list(tmp_path.iterdir()) == []
    path.touch()
    with pytest.raises(OutputExistsError):
        puppets.make(path, count=1)
    puppets.make(path, count=1, force=True)


@pytest.mark.parametrize(
    ("characters", "motions"), [([1296], [0]), ([-1], [0]), ([0], [9]), ([0, 1], [0]), ([[0]], [[0]])]
)
def test_numbers_out_of_range_are_refused(characters: list[int], motions: list[int]) -> None:
    with pytest.raises(DataError):
        puppets.draw(np.array(characters), np.array(motions))
