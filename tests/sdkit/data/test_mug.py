"""MUG, on a made-up tree of faces that are drawn well enough for the Haar cascade to find them."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdkit.data import mug
from sdkit.runtime.errors import (
    ConfigError,
    DataError,
    FileFormatError,
    MissingExtraError,
    MissingFileError,
    OutputExistsError,
)
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile
from tests import bombs

pytest.importorskip("cv2", reason="the extra video is not installed")
cv2 = mug._opencv()
Pixels = NDArray[np.uint8]
HEIGHT, WIDTH = 120, 160
SKIN = (220, 180, 150)


class Notes(Quiet):
    """A reporter that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def level(number: int) -> int:
    """Return the grey level behind the face in a frame of this number, from 0 to 24."""
    return 20 + 8 * number


def face(number: int, shift: int = 0) -> Pixels:
    """Return a face 70 pixels wide, (120, 160, 3) RGB, whose background says the number of the frame."""
    frame = np.full((HEIGHT, WIDTH, 3), level(number), np.uint8)
    shadow, light, hair = (165, 135, 112), (246, 201, 168), (50, 45, 40)

    def oval(x: float, y: float, a: float, b: float, colour: tuple[int, ...], arc: tuple[int, int] = (0, 360)) -> None:
        centre = (WIDTH // 2 + shift + round(x / 2), HEIGHT // 2 + round(y / 2))
        cv2.ellipse(frame, centre, (round(a / 2), round(b / 2)), 0, *arc, colour, -1)

    oval(0, 0, 70, 95, SKIN)
    oval(0, -85, 75, 40, hair, (180, 360))
    for side in (-1, 1):
        oval(30 * side, -22, 20, 12, shadow)
        oval(30 * side, -18, 14, 7, (235, 235, 235))
        oval(30 * side, -18, 6, 6, (30, 30, 30))
        oval(30 * side, -38, 20, 5, hair, (180, 360))
        oval(38 * side, 18, 18, 14, light)
    oval(0, 5, 8, 26, light)
    oval(0, 30, 14, 5, shadow, (0, 180))
    oval(0, 52, 26, 14, (150, 60, 60), (0, 180))
    oval(0, 52, 26, 6, (150, 60, 60), (180, 360))
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 1), np.uint8)


def blank(number: int) -> Pixels:
    """Return a frame without a face."""
    return np.full((HEIGHT, WIDTH, 3), level(number), np.uint8)


def frames(folder: Path, count: int, draw: Callable[[int], Pixels] = face, suffix: str = ".png") -> None:
    """Write a clip as a folder of frames whose numbers are not padded."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(draw(number)).save(folder / f"img_{number}{suffix}")


def video(path: Path, count: int, code: str = "MJPG") -> None:
    """Write a clip as a video file."""
    path.parent.mkdir(parents=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 19, (WIDTH, HEIGHT))
    for number in range(count):
        writer.write(face(number)[..., ::-1])
    writer.release()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mug") / "subjects"
    frames(root / "001" / "anger" / "take000", 17, suffix=".JPG")
    video(root / "001" / "Happiness" / "smile.avi", 20)
    frames(root / "002" / "fear", 15)
    frames(root / "002" / "neutral" / "take000", 1)
    frames(root / "003" / "mixed", 1)
    frames(root / "003" / "surprise" / "take000", 14)
    frames(root / "003" / "sadness" / "take000", 15, blank)
    frames(root / "003" / "disgust" / "take001", 16)
    (root / "003" / "disgust" / "take002").mkdir()
    (root / "readme.txt").write_text("a file beside the subjects")
    return root


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "copy"))


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the middle of a frame for a face, where a test is about something else."""
    monkeypatch.setattr(mug, "face_detector", lambda: lambda frame: (20, 10, 100))


def numbers(corner: Pixels) -> NDArray[np.int64]:
    """Return the numbers of frames, read from their upper left pixel, (T, 3)."""
    return np.asarray(np.rint((corner.astype(float).mean(1) - level(0)) / 8), np.int64)


def test_the_file(tree: Path, tmp_path: Path) -> None:
    reporter = Notes()
    with SequenceFile(mug.make(tree, tmp_path / "x.h5", reporter=reporter)) as file:
        file.check()
        assert (file.count, file.steps, file.element.shape, file.element.dtype) == (4, 15, (3, 64, 64), "uint8")
        assert (file.meta.name, file.meta.rate) == ("mug", None)
        assert file.meta.licence == "licence agreement of the MUG database"
        assert [(f.name, f.kind) for f in file.factors] == [("subject", "static"), ("expression", "dynamic")]
        assert file.factors[0].values == ("001", "002", "003")
        assert file.factors[1].values == ("anger", "disgust", "happiness", "fear", "sadness", "surprise")
        labels, x = file.labels(), file.read(slice(None))
        assert labels is not None
    assert labels.tolist() == [[0, 2], [0, 0], [1, 3], [2, 1]]
    for clip, count in zip(x, (20, 17, 15, 16), strict=True):
        found = numbers(clip[:, :, 0, 0])
        assert (np.diff(found) > 0).all()
        assert 0 <= found[0] <= found[-1] < count
        # The face fills the crop: skin in the middle, the channels in the order red, green, blue.
        assert np.abs(clip[:, :, 38:42, 30:34].mean((0, 2, 3)) - SKIN).max() < 15
    assert reporter.lines == [
        "kept 4 of 7 clips of 3 subjects: " + reporter.lines[0].rsplit(": ")[1],
        "dropped 2 clips of fewer than 15 frames",
        "dropped 1 clips without a face that was found",
        "passed over folders that are none of the six expressions: mixed (1), neutral (1)",
    ]


def test_the_cascade_finds_the_drawn_face() -> None:
    find = mug.face_detector()
    for number, shift in ((0, 0), (12, 10), (20, -10)):
        box = find(face(number, shift))
        assert box is not None
        left, top, side = box
        assert 70 < side < 115
        assert abs(left + side / 2 - WIDTH / 2 - shift) < 6
        assert abs(top + side / 2 - HEIGHT / 2) < 8
    assert find(blank(3)) is None


def test_one_crop_a_clip() -> None:
    columns = np.arange(200, dtype=np.uint8)[:, None]
    steps = np.ascontiguousarray(np.broadcast_to(columns, (15, 100, 200, 3)))
    boxes = iter([None, (40, 10, 64), (44, 12, 64), (42, 11, 64), (150, 30, 20), *[None] * 10])
    x = mug.crop(steps, lambda frame: next(boxes))
    assert x is not None
    assert x.shape == (15, 3, 64, 64)
    # The median of four finds; a face found elsewhere once does not move it.
    assert (x[:, 0, 0] == np.arange(43, 43 + 64)).all()
    beyond = mug.crop(steps, lambda frame: (170, 60, 64))
    assert beyond is not None
    assert beyond[0, 0, 0].tolist() == list(range(136, 200))
    assert mug.crop(steps, lambda frame: None) is None


def test_frames_of_a_clip_depend_on_its_name_and_the_seed_only(tree: Path, tmp_path: Path, anywhere: None) -> None:
    path = tree / "001" / "anger" / "take000"
    clip = mug.Clip(path, "001/anger/take000", "001", "anger")
    first, again, other = (mug.sample(clip, seed) for seed in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.shape == (15, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(first, again)
    assert numbers(first[:, 0, 0]).tolist() != numbers(other[:, 0, 0]).tolist()
    # Alone in a data set, the clip keeps the frames that it has among others.
    (tmp_path / "alone" / "001" / "anger").mkdir(parents=True)
    (tmp_path / "alone" / "001" / "anger" / "take000").symlink_to(path)
    made = mug.make(tmp_path / "alone", tmp_path / "x.h5", by="clip")
    with SequenceFile(made) as file:
        assert numbers(file.read([0])[0, :, :, 0, 0]).tolist() == numbers(first[:, 0, 0]).tolist()
        assert file.split("test") is None  # one clip cannot be on three sides


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_a_video_gives_the_frames_that_were_drawn(tmp_path: Path, name: str, code: str) -> None:
    video(tmp_path / "clip" / name, 20, code)
    x = mug.sample(mug.Clip(tmp_path / "clip" / name, name, "001", "anger"), seed=0)
    assert x is not None
    found = numbers(x[:, 0, 0])
    assert len(set(found.tolist())) == 15
    assert (np.diff(found) > 0).all()
    for frame, number in zip(x, found, strict=True):
        assert np.abs(frame.astype(int) - face(int(number))).mean() < 6
    video(tmp_path / "short" / name, 14, code)
    assert mug.sample(mug.Clip(tmp_path / "short" / name, name, "001", "anger"), seed=0) is None


@pytest.fixture
def many(tmp_path: Path, anywhere: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten subjects with ten clips each, whose frames are not read."""
    for i in range(100):
        (tmp_path / "many" / f"{i // 10:03}" / mug.EXPRESSIONS[i % 6] / f"take{i % 10:03}").mkdir(parents=True)
    monkeypatch.setattr(mug, "sample", lambda clip, seed: np.zeros((15, 120, 120, 3), np.uint8))
    return tmp_path / "many"


def sides(path: Path) -> list[list[int]]:
    """Return the subjects of all clips in train, val and test."""
    with SequenceFile(path) as file:
        labels = file.labels()
        assert labels is not None
        assert file.count == 100
        return [labels[file.split(split), 0].tolist() for split in ("train", "val", "test")]


def test_nobody_is_on_two_sides(many: Path, tmp_path: Path) -> None:
    parts = sides(mug.make(many, tmp_path / "x.h5", compression="none"))
    assert [len(set(part)) for part in parts] == [7, 1, 2]
    assert len({subject for part in parts for subject in part}) == 10
    assert list(map(len, parts)) == [70, 10, 20]
    assert sides(mug.make(many, tmp_path / "y.h5", seed=3, compression="none")) != parts


def test_by_clip_everybody_is_on_all_sides(many: Path, tmp_path: Path) -> None:
    parts = sides(mug.make(many, tmp_path / "x.h5", by="clip", compression="none"))
    for part, each in zip(parts, (7, 1, 2), strict=True):
        assert sorted(part) == sorted(list(range(10)) * each)


def broken(root: Path, how: str) -> None:
    frame = root / "002" / "fear" / "img_3.png"
    if how == "truncated frame":
        frame.write_bytes(frame.read_bytes()[:400])
    elif how == "text for a frame":
        frame.write_text("no image")
    elif how == "another size":
        Image.new("RGB", (40, 40)).save(frame)
    elif how == "text for a video":
        (root / "001" / "Happiness" / "smile.avi").write_text("no video")
    elif how == "truncated video":
        path = root / "001" / "Happiness" / "smile.avi"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "empty subject":
        (root / "004").mkdir()


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("truncated frame", FileFormatError, r"fear/img_3\.png is not an image that can be read"),
        ("text for a frame", FileFormatError, r"fear/img_3\.png is not an image that can be read"),
        ("another size", FileFormatError, r"002/fear holds frames of different sizes"),
        ("text for a video", FileFormatError, r"smile\.avi is not a video that can be read"),
        ("truncated video", FileFormatError, r"smile\.avi is broken off: \d+ of 20 frames can be read"),
        ("empty subject", MissingFileError, r"004 holds no folders; expected a folder an expression"),
    ],
)
def test_a_broken_copy(
    copy: Path,
    tmp_path: Path,
    anywhere: None,
    capfd: pytest.CaptureFixture[str],
    how: str,
    error: type[Exception],
    message: str,
) -> None:
    broken(copy, how)
    with pytest.raises(error, match=message) as caught:
        mug.make(copy, tmp_path / "x.h5")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [copy]
    assert capfd.readouterr().err == ""


def test_a_frame_whose_size_is_not_believed(copy: Path, tmp_path: Path, anywhere: None) -> None:
    (copy / "002" / "fear" / "img_3.png").write_bytes(bombs.png(20_000, 4_000))
    with pytest.raises(FileFormatError, match=r"img_3\.png states 20000x4000 pixels; at most 16,777,216 are read"):
        mug.make(copy, tmp_path / "x.h5")


def test_folders_that_link_in_a_ring(copy: Path, tmp_path: Path, anywhere: None) -> None:
    fear = copy / "002" / "fear"
    for name in ("one", "two"):
        (fear / name).symlink_to(fear)
    with pytest.raises(FileFormatError, match=r"fear/one links to a folder that is read already; remove the link"):
        mug.make(copy, tmp_path / "x.h5")


def test_sources_that_are_none(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="none does not exist; expected a folder of a folder a subject"):
        mug.make(tmp_path / "none", tmp_path / "x.h5")
    with pytest.raises(MissingFileError, match="empty holds no folders; expected a folder a subject"):
        mug.make(tmp_path / "empty", tmp_path / "x.h5")
    # A folder too high: what is taken for expressions are subjects.
    with pytest.raises(MissingFileError, match=r"holds no folder of an expression \(anger, disgust"):
        mug.make(tree.parent, tmp_path / "x.h5")
    frames(tmp_path / "one" / "001" / "fear", 15, blank)
    with pytest.raises(
        DataError, match=r"one: subjects: 1 cannot be parted into train, val and test; .* or by = 'clip'"
    ):
        mug.make(tmp_path / "one", tmp_path / "x.h5")
    with pytest.raises(DataError, match="one: none of the 1 clips can be used: 1 without a face that was found"):
        mug.make(tmp_path / "one", tmp_path / "x.h5", by="clip")
    with pytest.raises(ConfigError, match="by = 'person'; choose subject or clip"):
        mug.make(tree, tmp_path / "x.h5", by="person")
    assert not list(tmp_path.glob("*x.h5*"))
    (tmp_path / "x.h5").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"x\.h5 exists already"):
        mug.make(tree, tmp_path / "x.h5")


def test_a_missing_extra_is_named(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"does not bring haarcascade.*; pip install 'sdkit\[video\]'"):
        mug.make(tree, tmp_path / "x.h5")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cv2" else found(name))
    with pytest.raises(MissingExtraError, match=r"needs cv2, not installed here; pip install 'sdkit\[video\]'"):
        mug.make(tree, tmp_path / "x.h5")
    assert not list(tmp_path.iterdir())
