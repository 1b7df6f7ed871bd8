from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdkit.figures.grid import rows_grid, tiles
from sdkit.figures.style import (
    MOST_CLASSES,
    caption,
    counted,
    feature_name,
    marks,
    new_figure,
    plain,
    raster,
    save,
    unit,
)
from sdkit.runtime.element import Element
from sdkit.runtime.errors import MissingExtraError, MissingFileError, OutputExistsError
from tests.sdkit.figures.parts import caption_of
from tests.tiny import IMAGE, sequences

GREY = Element("image", (1, 4, 6), "uint8")


def test_every_class_has_a_mark_of_its_own() -> None:
    assert len(set(marks(MOST_CLASSES))) == MOST_CLASSES
    assert len({mark.colour for mark in marks(6)}) == 6  # colours first, markers only when these are used up
    assert len({mark.marker for mark in marks(6)}) == 1


def test_the_caption_has_room_of_its_own() -> None:
    figure: Any = new_figure(4, 3)
    axes = figure.subplots()
    axes.set_xlabel("time")
    caption(figure, "What is seen.", "", "Which model: " + "long " * 60)
    assert caption_of(figure).startswith("What is seen. Which model: long long")
    canvas = raster(figure)
    assert canvas.width == 440
    assert canvas.height > 330 + 50  # five lines at least
    text = figure.texts[0].get_window_extent()
    assert 0 <= text.x0 < text.x1 <= canvas.width
    assert 0 <= text.y0 < text.y1 <= axes.xaxis.label.get_window_extent().y0


def test_dollars_open_no_formula() -> None:
    figure: Any = new_figure(2, 2)
    title = figure.subplots().set_title(plain(r"cost ($) of \bad{ ($)"))
    raster(figure)
    assert title.get_text().count("$") == 2


def test_names_and_units_of_features() -> None:
    element = Element("series", (4, 2), "float32", ("degC", "hPa"), ("temperature", "pressure"))
    assert [(feature_name(element, f), unit(element, f)) for f in (0, 1)] == [
        ("temperature", "degC"),
        ("pressure", "hPa"),
    ]
    one = Element("series", (4, 2), "float32", ("mV",))
    assert (feature_name(one, 1), unit(one, 1)) == ("feature 1", "mV")
    assert unit(Element("series", (4, 2), "float32"), 1) == ""


def test_counted() -> None:
    assert counted(1, "sequence", 1) == "1 sequence"
    assert counted(3, "feature", 3) == "3 features"
    assert counted(8, "sequence", 6) == "the first 6 of 8 sequences"


def test_figures_need_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"a figure needs matplotlib.*sdkit\[train\]"):
        new_figure(2, 2)


def test_png(tmp_path: Path) -> None:
    picture = rows_grid([("a", sequences(1, 3)[0])], IMAGE)
    path = save(picture, str(tmp_path / "a.png"))
    with Image.open(path) as read:
        assert read.format == "PNG"
        np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_png_of_a_figure(tmp_path: Path) -> None:
    figure: Any = new_figure(3, 2)
    figure.patch.set_facecolor("#0072B2")
    with Image.open(save(figure, tmp_path / "a.png")) as read:
        assert (read.format, read.size) == ("PNG", (330, 220))
        assert (np.asarray(read) == (0x00, 0x72, 0xB2)).all()


@pytest.mark.parametrize(("rate", "duration"), [(8.0, 120), (5.0, 200), (50.0, 20)])
def test_gif(tmp_path: Path, rate: float, duration: int) -> None:
    levels = np.array([0, 50, 100, 150, 200], np.uint8)
    clips = np.broadcast_to(levels[None, :, None, None, None], (1, 5, *GREY.shape))
    path = save(tiles(clips, GREY), tmp_path / "a.gif", rate=rate)
    with Image.open(path) as read:
        assert (read.format, getattr(read, "n_frames", 1), read.size) == ("GIF", 5, (6, 4))
        assert read.info["loop"] == 0
        for t in range(5):
            read.seek(t)
            assert (np.asarray(read.convert("RGB")) == levels[t]).all()
            assert read.info["duration"] == duration  # GIF counts hundredths


def test_outputs_are_whole_or_absent(tmp_path: Path) -> None:
    picture = rows_grid([("a", sequences(1, 3)[0])], IMAGE)
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(OutputExistsError):
        save(picture, path, force=False)
    assert path.read_text() == "mine"
    with pytest.raises(MissingFileError, match="none does not exist"):
        save(picture, tmp_path / "none" / "a.png")
    save(picture, path)
    assert path.read_bytes().startswith(b"\x89PNG")
