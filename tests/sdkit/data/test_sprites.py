"""Sprites, on made-up sheets whose pixels say which cell and which layer they are from, and on the real ones."""

import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdkit.data import sprites
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError, OutputExistsError
from sdkit.runtime.storage.sequences import SequenceFile
from tests import bombs

REAL = Path(__file__).parents[4] / "shared" / "data" / "sprites"
Pixels = NDArray[np.uint8]

LEFT = {
    "walk": [125, 118, 119, 120, 121, 122, 123, 124],
    "spellcard": [13, 14, 15, 16, 17, 18, 17, 19],
    "slash": [169, 170, 171, 172, 173, 174, 173, 169],
}
EXPECTED_CELLS = [[cell + down for cell in cells] for cells in LEFT.values() for down in (13, 0, 26)]
"""Cell number of every frame of the motions, as the original scripts name them: front, left, right of each action."""


def sheet() -> Pixels:
    """Return an empty sheet (1344, 832, 4), 21x13 cells seen as views by `cells`."""
    return np.zeros((1344, 832, 4), np.uint8)


def cells(pixels: Pixels) -> Pixels:
    """Return a view (21, 13, 64, 64, 4)."""
    return pixels.reshape(21, 64, 13, 64, 4).transpose(0, 2, 1, 3, 4)


NUMBER = np.arange(273).reshape(21, 13, 1, 1) % 256


def body(value: int) -> Pixels:
    pixels = sheet()
    cells(pixels)[..., 0] = NUMBER
    cells(pixels)[..., 1:] = (10 * value, 7, 255)
    cells(pixels)[:, :, 56:, 56:] = (255, 255, 255, 0)  # a corner that is not drawn on
    return pixels


def bottomwear(value: int) -> Pixels:
    pixels = sheet()
    cells(pixels)[:, :, :16] = (100, 20 * value, 0, 255)
    return pixels


def topwear(value: int) -> Pixels:
    pixels = sheet()
    cells(pixels)[:, :, 8:24] = (0, 200, 30 * value, 128)  # half transparent, over bottomwear in rows 8 to 15
    return pixels


def hair(value: int) -> Pixels:
    pixels = sheet()
    cells(pixels)[:, :, 12:20, :32] = (0, 0, 200 + value, 255)
    return pixels


def shoes() -> Pixels:
    pixels = sheet()
    cells(pixels)[:, :, 12:20, :8] = (1, 2, 3, 255)
    return pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sheets")
    for layer in (body, bottomwear, topwear, hair):
        (root / layer.__name__).mkdir()
        for value in range(6):
            Image.fromarray(layer(value)).save(root / layer.__name__ / f"{value}.png", compress_level=1)
    (root / "shoes").mkdir()
    Image.fromarray(shoes()).save(root / "shoes" / "1.png", compress_level=1)
    return root


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def composed(folder: Path) -> Pixels:
    return sprites.compose(folder)


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def test_every_frame_is_from_its_cell(composed: Pixels) -> None:
    assert composed.shape == (1296, 9, 8, 3, 64, 64)
    assert composed.dtype == np.uint8
    bare = composed[:, :, :, 0, 40, 20]  # only the body is drawn here
    assert (bare == np.array(EXPECTED_CELLS)).all()


def test_layers_lie_over_each_other_in_order(composed: Pixels) -> None:
    for skin, pant, top, colour in ((0, 0, 0, 0), (1, 2, 3, 4), (5, 4, 1, 2), (5, 5, 5, 5)):
        frame = composed[skin * 216 + pant * 36 + top * 6 + colour, 4, 3].astype(int)  # spellcard left: cell 16

        def over(below: tuple[int, ...], value: int = top) -> NDArray[np.float64]:
            return np.array(below) * 127 / 255 + np.array([0, 200, 30 * value]) * 128 / 255

        naked, trousers = (16, 10 * skin, 7), (100, 20 * pant, 0)
        assert frame[:, 40, 20].tolist() == list(naked)
        assert frame[:, 4, 40].tolist() == list(trousers)
        np.testing.assert_allclose(frame[:, 10, 40], over(trousers), atol=1)
        np.testing.assert_allclose(frame[:, 20, 40], over(naked), atol=1)
        assert frame[:, 14, 20].tolist() == [0, 0, 200 + colour]
        assert frame[:, 14, 4].tolist() == [1, 2, 3]
        assert frame[:, 60, 60].tolist() == [0, 0, 0]  # what no layer covers is black


@pytest.mark.parametrize("prefix", ["", "Sprites-master/"])
def test_a_zip_holds_the_same_sheets(folder: Path, tmp_path: Path, prefix: str) -> None:
    layers, boots = sprites._load(folder)
    packed, packed_boots = sprites._load(zipped(folder, tmp_path / "sheets.zip", prefix))
    assert [len(layer) for layer in packed] == [6] * 4
    for a, b in zip(
        [*(i for layer in layers for i in layer), boots],
        [*(i for layer in packed for i in layer), packed_boots],
        strict=True,
    ):
        assert a.size == (72 * 64, 64)
        assert a.tobytes() == b.tobytes()


def test_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pictures of one grey level, which says character and motion.
    level = (np.arange(1296 * 9) * 7 % 256).astype(np.uint8)
    grey = np.broadcast_to(level.reshape(1296, 9, 1, 1, 1, 1), (1296, 9, 8, 3, 64, 64))
    monkeypatch.setattr(sprites, "compose", lambda sheets, reporter: grey)
    path = sprites.make("sheets", tmp_path / "sprites.h5", compression="lz4")
    with SequenceFile(path) as file:
        assert (file.count, file.steps, file.element.shape) == (11664, 8, (3, 64, 64))
        assert (file.meta.name, file.meta.licence) == ("sprites", "CC-BY-SA-3.0 OR GPL-3.0")
        assert [f.name for f in file.factors] == ["skin", "pant", "top", "hair", "motion"]
        assert [f.kind for f in file.factors] == ["static"] * 4 + ["dynamic"]
        train, test, labels = file.split("train"), file.split("test"), file.labels()
        assert train is not None
        assert test is not None
        assert labels is not None
        assert train.tolist() == list(range(9000))
        assert test.tolist() == list(range(9000, 11664))
        assert file.split("val") is None
        numbers = np.concatenate(sprites.order())
        characters = labels[:, :4] @ [216, 36, 6, 1]
        assert (characters * 9 + labels[:, 4] == numbers).all()
        assert not set(characters[train]) & set(characters[test])
        some = np.array([0, 1, 255, 256, 4321, 8999, 9000, 11663])
        for i, x in zip(some, file.read(some), strict=True):
            assert (x == level[numbers[i]]).all()


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("name", ["hair/3.png", "shoes/1.png"])
def test_a_missing_sheet_is_named(copy: Path, tmp_path: Path, packed: bool, name: str) -> None:
    (copy / name).unlink()
    source = zipped(copy, tmp_path / "s.zip") if packed else copy
    with pytest.raises(MissingFileError, match=f"the sheet .*{name} is missing"):
        sprites.make(source, tmp_path / "x.h5")
    assert not list(tmp_path.glob("*.h5*"))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("size", "message"),
    [((832, 1343), r"body/2\.png has \(832, 1343\) pixels; expected \(832, 1344\)"), (None, "not an image")],
)
def test_a_sheet_that_is_none(copy: Path, tmp_path: Path, packed: bool, size: Any, message: str) -> None:
    if size is None:
        (copy / "body/2.png").write_bytes(b"\x89PNG no picture at all")
    else:
        Image.new("RGBA", size).save(copy / "body/2.png")
    source = zipped(copy, tmp_path / "s.zip") if packed else copy
    with pytest.raises(FileFormatError, match=message) as caught:
        sprites.make(source, tmp_path / "x.h5")
    assert "body/2.png" in str(caught.value)
    assert not list(tmp_path.glob("*.h5*"))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((20_000, 4_000), r"has \(20000, 4000\) pixels; expected"),
        ((60_000, 60_000), "is not an image that can be read"),
    ],
)
def test_a_sheet_whose_size_is_not_believed(
    copy: Path, tmp_path: Path, packed: bool, size: tuple[int, int], message: str
) -> None:
    (copy / "body/2.png").write_bytes(bombs.png(*size))
    source = zipped(copy, tmp_path / "s.zip") if packed else copy
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=rf"body/2\.png {message}"):
            sprites.make(source, tmp_path / "x.h5")
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_a_sheet_that_is_cut_off(copy: Path, tmp_path: Path) -> None:
    file = copy / "topwear/5.png"
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(FileFormatError, match=r"topwear/5\.png is not an image that can be read"):
        sprites.make(copy, tmp_path / "x.h5")


def test_a_zip_whose_bytes_are_damaged(copy: Path, tmp_path: Path) -> None:
    source = zipped(copy, tmp_path / "s.zip")
    with zipfile.ZipFile(source) as archive:
        sheet = archive.getinfo("body/0.png")
    data = bytearray(source.read_bytes())
    middle = sheet.header_offset + sheet.file_size // 2
    data[middle : middle + 64] = bytes(64)
    source.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"s\.zip: body/0\.png is not a file that can be read to its end"):
        sprites.make(source, tmp_path / "x.h5")


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="none does not exist; expected a folder or a zip"):
        sprites.compose(tmp_path / "none")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(FileFormatError, match=r"text\.zip is not a zip that can be read to its end"):
        sprites.compose(tmp_path / "text.zip")
    (tmp_path / "x.h5").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"x\.h5 exists already"):
        sprites.make(tmp_path, tmp_path / "x.h5")


def test_order_is_the_originals() -> None:
    train, test = sprites.order()
    assert (len(train), len(test)) == (9000, 2664)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(11664))
    assert np.random.RandomState(423).permutation(1296)[:8].tolist() == [1116, 1135, 17, 469, 1293, 491, 869, 961]
    people = set((train // 9).tolist())
    assert {1116, 1135, 17, 469, 1293, 491, 869, 961} <= people
    assert len(people) == 1000
    assert not people & set((test // 9).tolist())
    # The characters' order before the parts are shuffled is the permutation's, a motion at a time.
    shuffled = np.random.RandomState(0).permutation(9000)
    unshuffled = np.empty_like(train)
    unshuffled[shuffled] = train
    at_start = np.empty(9000, np.int64)
    at_start[shuffled] = train
    assert at_start[:3].tolist() == [1116 * 9, 1135 * 9, 17 * 9]
    assert at_start[1000:1003].tolist() == [1116 * 9 + 1, 1135 * 9 + 1, 17 * 9 + 1]


@pytest.mark.parametrize(("share", "people"), [(0.1, 100), (0.001, 1), (0.999, 999)])
def test_a_validation_split_is_of_characters_of_its_own(share: float, people: int) -> None:
    train, _ = sprites.order()
    parts = sprites.held_out(train, share)
    assert sorted([*parts["train"].tolist(), *parts["val"].tolist()]) == list(range(9000))
    val, rest = set((train[parts["val"]] // 9).tolist()), set((train[parts["train"]] // 9).tolist())
    assert (len(val), len(parts["val"]), len(rest)) == (people, 9 * people, 1000 - people)
    assert not val & rest


def test_by_default_the_splits_are_the_benchmarks() -> None:
    train, _ = sprites.order()
    assert {name: rows.tolist() for name, rows in sprites.held_out(train, 0.0).items()} == {"train": list(range(9000))}
    for share in (-0.1, 1.0, 1e-9, float("nan")):
        with pytest.raises(ConfigError, match="val_fraction = "):
            sprites.held_out(train, share)


def test_labels_and_factors() -> None:
    found = sprites.labels(np.array([0, 1, 6, 36, 216, 1295]), np.array([0, 3, 4, 5, 7, 8]))
    expected = [[0, 0, 0, 0, 0], [0, 0, 0, 1, 3], [0, 0, 1, 0, 4], [0, 1, 0, 0, 5], [1, 0, 0, 0, 7], [5, 5, 5, 5, 8]]
    assert found.tolist() == expected
    motion = sprites.factors()[-1]
    assert motion.values[:4] == ("walk front", "walk left", "walk right", "spellcard front")
    assert motion.values[8] == "slash right"


def test_the_real_sheets() -> None:
    if not REAL.is_dir():
        pytest.skip("the LPC sheets are not at ../shared/data/sprites; they are not part of this repository")
    x = sprites.compose(REAL)
    walk, spellcard, slash = x[:, :3], x[:, 3:6], x[:, 6:]
    assert (slash[:, :, 7] == slash[:, :, 0]).all()
    assert (slash[:, :, 6] == slash[:, :, 4]).all()
    assert (spellcard[:, :, 6] == spellcard[:, :, 4]).all()
    assert not (walk[:, :, 7] == walk[:, :, 0]).all()
    # A walk starts with the last cell of its row.
    with Image.open(REAL / "body/0.png") as image:
        skin = cells(np.array(image.convert("RGBA")))
    strip = np.asarray(sprites._load(REAL)[0][0][0])
    for frame, column in enumerate([8, 1, 2, 3, 4, 5, 6, 7]):
        left = strip[:, (8 + frame) * 64 : (9 + frame) * 64]
        np.testing.assert_array_equal(left, skin[9, column])
    # Bodies alone cover 21 % of these cells, clothes and hair a little more; sides fill less than the front.
    some = x[::37]
    drawn = (some.max(3) > 0).mean((0, 2, 3, 4))
    assert drawn.mean() == pytest.approx(0.23, abs=0.005)
    assert (drawn[[0, 3, 6]] > drawn[[1, 4, 7]]).all()
    np.testing.assert_allclose(drawn[[1, 4, 7]], drawn[[2, 5, 8]], atol=0.002)
    motion = np.abs(np.diff(some.astype(np.int16), axis=2)).mean((0, 2, 3, 4, 5))
    assert motion.min() > 2
    assert motion.max() < 18
