from collections import Counter
from pathlib import Path

import pytest

from sdkit.data.subjects import deal, folders
from sdkit.runtime.errors import ConfigError, DataError, MissingFileError


@pytest.mark.parametrize(
    ("count", "test", "val", "expected"),
    [(34, 0.3, 0.1, (21, 3, 10)), (52, 0.2, 0.1, (37, 5, 10)), (3, 0.3, 0.1, (1, 1, 1)), (4, 0.9, 0.05, (1, 1, 2))],
)
def test_every_split_gets_its_share(count: int, test: float, val: float, expected: tuple[int, int, int]) -> None:
    names = [f"{i:02}" for i in range(count)]
    sides = deal(names, seed=0, test_fraction=test, val_fraction=val)
    assert sorted(sides) == names
    found = Counter(sides.values())
    assert (found["train"], found["val"], found["test"]) == expected


def test_the_seed_decides_and_the_order_of_names_does_not() -> None:
    names = [f"{i:02}" for i in range(20)]
    first = deal(names, seed=0, test_fraction=0.3, val_fraction=0.1)
    assert deal(reversed(names), seed=0, test_fraction=0.3, val_fraction=0.1) == first
    assert deal(names, seed=1, test_fraction=0.3, val_fraction=0.1) != first


def test_what_cannot_be_dealt_out() -> None:
    with pytest.raises(DataError, match="2 cannot be parted into train, val and test; at least 3"):
        deal("ab", seed=0, test_fraction=0.3, val_fraction=0.1)
    for test, val in ((0.0, 0.1), (0.3, -0.1), (0.6, 0.4)):
        with pytest.raises(ConfigError, match="expected two positive numbers whose sum is below 1"):
            deal("abcd", seed=0, test_fraction=test, val_fraction=val)


def test_folders(tmp_path: Path) -> None:
    for name in ("b", "a", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "LICENSE").write_text("free")
    assert [folder.name for folder in folders(tmp_path, "people")] == ["a", "b"]
    with pytest.raises(MissingFileError, match="a holds no folders; expected people"):
        folders(tmp_path / "a", "people")
    with pytest.raises(MissingFileError, match="LICENSE is not a folder; expected a folder of people"):
        folders(tmp_path / "LICENSE", "people")
    with pytest.raises(MissingFileError, match="c does not exist; expected a folder of people"):
        folders(tmp_path / "c", "people")
