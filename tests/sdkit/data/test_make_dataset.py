from pathlib import Path
from typing import Any

import pytest

from sdkit.data import MAKERS, make_dataset
from sdkit.runtime.errors import ConfigError, MissingFileError, OutputExistsError
from sdkit.runtime.sequences import SequenceFile


def test_puppets_are_made_by_name(tmp_path: Path) -> None:
    path = make_dataset("puppets", tmp_path / "p.h5", count=3, split="test", seed=1, compression="none")
    assert path == tmp_path / "p.h5"
    with SequenceFile(path) as file:
        assert (file.meta.name, file.count) == ("puppets", 3)
        assert file.data.compression is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("puppet", {}, r"unknown data set 'puppet' \(did you mean 'puppets'\?\); there are: puppets, sprites"),
        ("mnist", {}, "unknown data set 'mnist'; there are: puppets, sprites"),
        ("puppets", {"source": "art"}, "'puppets' is drawn by sdkit and takes no source"),
        ("sprites", {}, "'sprites' is made from sheets; give the folder or zip that holds them"),
        ("puppets", {"count": 3, "size": 32, "colour": 1}, "'puppets' has no option colour, size"),
        ("sprites", {"source": "art", "count": 3}, "'sprites' has no option count"),
        ("puppets", {"count": 3, "compression": "zip"}, "compression"),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_dataset(name, tmp_path / "x.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    path.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"p\.h5 exists already"):
        make_dataset("puppets", path, count=2)
    assert path.read_bytes() == b"mine"
    with SequenceFile(make_dataset("puppets", path, count=2, force=True)) as file:
        assert file.count == 2


@pytest.mark.parametrize("name", [name for name, source in MAKERS.items() if source])
def test_a_source_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=r"absent does not exist"):
        make_dataset(name, tmp_path / "x.h5", source=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []
