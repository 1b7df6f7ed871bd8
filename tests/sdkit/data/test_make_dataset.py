import importlib
import inspect
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np
import pytest

from sdkit.data import MAKERS, SHARED, explain_options, make_dataset, maker_options
from sdkit.data.said import Said
from sdkit.runtime.errors import ConfigError, MissingFileError, OutputExistsError
from sdkit.runtime.storage.sequences import SequenceFile


def test_puppets_are_made_by_name(tmp_path: Path) -> None:
    path = make_dataset("puppets", tmp_path / "p.h5", count=3, split="test", seed=1, compression="none")
    assert path == tmp_path / "p.h5"
    with SequenceFile(path) as file:
        assert (file.meta.name, file.count) == ("puppets", 3)
        assert file.data.compression == "none"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("puppet", {}, r"unknown data set 'puppet' \(did you mean 'puppets'\?\); there are: puppets, sprites"),
        ("air_quality", {}, r"unknown data set 'air_quality' \(did you mean 'air-quality'\?\)"),
        ("mnist", {}, "unknown data set 'mnist'; there are: puppets, sprites, physionet, air-quality, etth1, timit"),
        ("puppets", {"source": "art"}, "'puppets' is drawn by sdkit and takes no source"),
        ("sprites", {}, "'sprites' needs a source: a folder or zip of the LPC sheets"),
        ("air-quality", {}, r"'air-quality' needs a source: UCI's zip, or a folder of PRSA_Data_\*\.csv"),
        (
            "puppets",
            {"count": 3, "size": 32},
            "'puppets' has no option 'size'; it has: count, split, seed, name, or",
        ),
        ("sprites", {"source": "art", "count": 3}, "'sprites' has no option 'count'; it has: val_fraction, name, ori"),
        ("puppets", {"count": "many"}, r"'puppets': option count = 'many': Expected `int \| null`, got `str`"),
        (
            "arrays",
            {"source": "x.npy", "kind": "text"},
            "unknown kind of element 'text'; there are: image, series, spe",
        ),
        ("etth1", {"source": "x.csv", "split": 3}, r"'etth1': option split = 3: Expected `str`, got `int`"),
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


@pytest.mark.parametrize("name", MAKERS)
def test_every_maker_has_the_same_shape(name: str) -> None:
    make = importlib.import_module(f"sdkit.data.{name.replace('-', '_')}").make
    sources = 1 if MAKERS[name] else 0
    parameters = list(inspect.signature(make).parameters.values())
    kinds = [parameter.kind for parameter in parameters]
    assert kinds[: sources + 1] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * (sources + 1)
    assert set(kinds[sources + 1 :]) == {inspect.Parameter.KEYWORD_ONLY}
    assert [parameter.name for parameter in parameters[-len(SHARED) :]] == list(SHARED)
    own = [parameter.name for parameter in parameters[sources + 1 : -len(SHARED)]]
    assert list(maker_options(name)) == [*own, "name", "origin", "licence"]
    assert all(explain_options(name).values()), "an option without a note in the docstring"
    hints = {**get_type_hints(make), **get_type_hints(Said)}
    for option, default in maker_options(name).items():
        msgspec.convert(default, hints[option])  # raises where a type is none that can be checked


def test_options_that_are_lists_may_be_given_as_lists_or_as_one_text(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=np.zeros((3, 2, 4, 2), np.float32), labels=np.zeros((3, 2), int))
    for i, names in enumerate(("who, what", ["who", "what"], ("who", "what"))):
        path = make_dataset("arrays", tmp_path / f"{i}.h5", source=tmp_path / "x.npz", factors=names, name="mine")
        with SequenceFile(path) as file:
            assert ([factor.name for factor in file.factors], file.meta.name) == (["who", "what"], "mine")


@pytest.mark.parametrize("name", [name for name, source in MAKERS.items() if source])
def test_a_source_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=r"absent does not exist"):
        make_dataset(name, tmp_path / "x.h5", source=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []
