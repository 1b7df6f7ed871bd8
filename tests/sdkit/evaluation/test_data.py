from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.evaluation.data import label_column, parts_of, split_rows
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.storage.sequences import SequenceFile
from tests.sdkit.evaluation.labelled import COUNT, series
from tests.sdkit.training.files import write as write_file
from tests.tiny import sequences


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> SequenceFile:
    """Return series of 3, 4 and 5 windows."""
    return SequenceFile(series(tmp_path_factory.mktemp("data") / "waves.h5", lengths=True))


def test_parts_are_the_files(waves: SequenceFile) -> None:
    parts = parts_of(waves)
    assert [len(part) for part in parts] == [72, 24, 24]
    assert set(np.concatenate(parts).tolist()) == set(range(COUNT))
    np.testing.assert_array_equal(parts.test, waves.split("test"))


def test_parts_of_a_file_without_validation_split_keep_people_apart(tmp_path: Path) -> None:
    labels = np.stack([np.arange(40) // 2, np.arange(40) % 2], 1)
    path = write_file(
        tmp_path / "people.h5", sequences(40, 3), labels=labels, kinds="sd", splits={"test": range(30, 40)}
    )
    parts = parts_of(SequenceFile(path), val_fraction=0.2, seed=1)
    assert len(parts.val) == 6
    assert set(np.concatenate(parts).tolist()) == set(range(40))
    people = [set(labels[part, 0].tolist()) for part in parts]
    assert not people[0] & people[1]
    assert not people[2] & (people[0] | people[1])
    other = parts_of(SequenceFile(path), val_fraction=0.2, seed=2)
    assert set(other.val) != set(parts.val)


def test_a_file_needs_a_test_split_and_something_to_validate_on(tmp_path: Path) -> None:
    no_test = SequenceFile(write_file(tmp_path / "a.h5", sequences(4), splits={"train": range(4)}))
    with pytest.raises(ConfigError, match=r"a\.h5 has no test split"):
        parts_of(no_test)
    empty = SequenceFile(write_file(tmp_path / "b.h5", sequences(4), splits={"train": range(4), "test": ()}))
    with pytest.raises(ConfigError, match=r"b\.h5 has no test split, or an empty one"):
        parts_of(empty)
    few = SequenceFile(write_file(tmp_path / "c.h5", sequences(6), splits={"test": range(3)}))
    with pytest.raises(ConfigError, match=r"c\.h5 has no validation split, and val_fraction = 0\.05"):
        parts_of(few)


def test_an_empty_split_has_no_rows(tmp_path: Path) -> None:
    file = SequenceFile(write_file(tmp_path / "b.h5", sequences(4), splits={"train": range(4), "test": ()}))
    assert split_rows(file, "train").tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"b\.h5: split 'test' is empty"):
        split_rows(file, "test")
    with pytest.raises(ConfigError, match="has no split 'val'"):
        split_rows(file, "val")


def test_labels_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SequenceFile(series(tmp_path / "waves.h5"))
    read: list[str] = []
    whole = file.whole_numbers

    def noted(name: str, axes: int) -> Any:
        read.append(name)
        return whole(name, axes)

    monkeypatch.setattr(file, "whole_numbers", noted)
    for factor in file.factors:
        label_column(file, factor.name)
    assert "labels" not in read  # they were when the file was opened
