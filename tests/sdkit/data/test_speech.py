"""Speech, on a made-up folder whose tones say who speaks, and on the real recordings."""

import importlib.util
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.data import audio, speech
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

soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")

REAL = Path(os.environ.get("SDKIT_DATA", Path(__file__).parents[4] / "shared" / "data")) / "speech"
SPEAKERS = tuple(f"s{i}" for i in range(8))
WORD = r"-(\d+)-"


class Notes(Quiet):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.total = self.done = 0

    def start(self, what: str, total: int) -> None:
        self.total = total

    def advance(self, count: int = 1, **fields: float) -> None:
        self.done += count

    def note(self, message: str) -> None:
        self.lines.append(message)


def tone(speaker: int, seconds: float, rate: int = 16_000) -> Any:
    """Return a tone in bin 10 (speaker + 1) of the spectrum."""
    return 0.5 * np.sin(2 * np.pi * 400 * (speaker + 1) * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight speakers with two recordings each, three pieces of 200 ms altogether."""
    root = tmp_path / "voices"
    for i, speaker in enumerate(SPEAKERS):
        (root / speaker / "day").mkdir(parents=True)
        soundfile.write(root / speaker / f"{speaker}-07-01.wav", tone(i, 0.4), 16_000)
        soundfile.write(root / speaker / "day" / f"{speaker}-12-01.FLAC", tone(i, 0.15), 16_000, format="FLAC")
    (root / "LICENSE").write_text("\nFree Licence\n\nand so on\n")
    (root / "list.wav").write_text("a file beside the speakers")
    return root


def test_the_file(folder: Path, tmp_path: Path) -> None:
    reporter = Notes()
    path = speech.make(folder, tmp_path / "x.h5", content=WORD, reporter=reporter)
    with SequenceFile(path) as file:
        file.check()
        assert (file.count, file.steps, file.element.shape) == (24, 20, (201,))
        assert (file.element.kind, file.element.dtype, file.element.units) == ("spectrum", "float32", ("magnitude",))
        assert (file.meta.name, file.meta.rate) == ("speech", 100)
        assert (file.meta.source, file.meta.licence) == ("voices", "Free Licence")
        assert file.handle.attrs["bin_spacing"] == "40 Hz"
        assert [(f.name, f.kind) for f in file.factors] == [
            ("speaker", "static"),
            ("recording", "static"),
            ("content", "dynamic"),
        ]
        assert file.factors[0].values == SPEAKERS
        assert file.factors[1].values[:2] == ("s0/day/s0-12-01", "s0/s0-07-01")
        assert file.factors[2].values == ("07", "12")
        labels = file.labels()
        assert labels is not None
        x = file.read(slice(None))
    assert labels[:4].tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0], [1, 2, 1]]
    # The tone of each piece is its speaker's, so labels and pieces belong together.
    assert (x[:, 5].argmax(1) == 10 * (labels[:, 0] + 1)).all()
    assert (reporter.total, reporter.done) == (16, 16)
    assert reporter.lines == [
        "kept 24 pieces of 200 ms from 16 recordings: train 15 of 5 speakers, val 3 of 1 speakers, test 6 of 2 speakers"
    ]


def test_decibels_are_those_of_the_magnitudes(folder: Path, tmp_path: Path) -> None:
    with SequenceFile(speech.make(folder, tmp_path / "m.h5")) as file:
        magnitudes = file.read(slice(None))
    with SequenceFile(speech.make(folder, tmp_path / "d.h5", scale="decibel")) as file:
        assert file.element.units == ("dB",)
        levels = file.read(slice(None))
    loud = magnitudes > 1e-3
    np.testing.assert_allclose(10 ** (levels[loud] / 20), magnitudes[loud], rtol=1e-4)
    np.testing.assert_allclose(levels[~loud], -60, atol=1e-4)
    assert 0 < loud.sum() < loud.size


@pytest.mark.parametrize("options", [{}, {"seed": 5}, {"test_fraction": 0.5, "val_fraction": 0.25}])
def test_nobody_is_on_two_sides(folder: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with SequenceFile(speech.make(folder, tmp_path / "x.h5", **options)) as file:
        labels = file.labels()
        assert labels is not None
        assert labels.shape == (24, 2)
        sides = [set(labels[file.split(split), 0].tolist()) for split in ("train", "val", "test")]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 8
    assert len(sides[2]) == (4 if "test_fraction" in options else 2)


def test_silence_is_dropped_and_counted(folder: Path, tmp_path: Path) -> None:
    sound = np.concatenate([tone(0, 0.2), np.zeros(9600), tone(0, 0.2)])
    soundfile.write(folder / "s0" / "s0-07-01.wav", sound, 16_000)
    soundfile.write(folder / "s1" / "s1-07-01.wav", np.zeros(4000), 16_000)
    reporter = Notes()
    with SequenceFile(speech.make(folder, tmp_path / "x.h5", reporter=reporter)) as file:
        # The windows at both ends of the silence reach 5 ms into the sound, so only the piece in its middle is silent.
        assert file.count == 24 + 2 - 2
        assert (file.read(slice(None)).max((1, 2)) > 0).all()
    assert "dropped 3 pieces of digital silence" in reporter.lines


def test_other_rates_and_channels_are_converted(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="the extra train is not installed")
    both = np.stack([tone(4, 0.4), np.zeros(6400)], axis=1)
    soundfile.write(folder / "s4" / "s4-07-01.wav", both, 16_000)
    soundfile.write(folder / "s5" / "s5-07-01.wav", tone(5, 0.4, 44_100), 44_100)
    soundfile.write(folder / "s6" / "s6-07-01.wav", tone(6, 0.4, 8000), 8000)
    reporter = Notes()
    with SequenceFile(speech.make(folder, tmp_path / "x.h5", reporter=reporter)) as file:
        assert file.count == 24
        x, labels = file.read(slice(None)), file.labels()
        assert labels is not None
    assert (x[:, 5].argmax(1) == 10 * (labels[:, 0] + 1)).all()
    peak = {s: x[(labels[:, 1] == 2 * s + 1), 5].max() for s in range(8)}
    assert peak[4] == pytest.approx(peak[3] / 2, rel=1e-3)
    assert peak[5] == pytest.approx(peak[3], rel=0.02)
    assert peak[6] == pytest.approx(peak[3], rel=0.02)
    assert reporter.lines[1:] == [
        "averaged over 2 channels: 1 recordings",
        "resampled from 44100 Hz to 16000 Hz: 1 recordings",
        "resampled from 8000 Hz to 16000 Hz: 1 recordings",
    ]


def test_a_file_does_not_depend_on_how_much_is_written_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SequenceFile(speech.make(folder, tmp_path / "a.h5")) as file:
        once, labels = file.read(slice(None)), file.labels()
    monkeypatch.setattr(audio, "BATCH", 5)
    with SequenceFile(speech.make(folder, tmp_path / "b.h5")) as file:
        np.testing.assert_array_equal(file.read(slice(None)), once)
        np.testing.assert_array_equal(file.labels(), labels)


def test_a_folder_without_a_licence(folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").unlink()
    with SequenceFile(speech.make(folder, tmp_path / "x.h5")) as file:
        assert file.meta.licence == "unknown: see the data's own licence"


def flat(folder: Path, root: Path) -> Path:
    """Copy all recordings into one folder, named SPEAKER-WORD-01."""
    root.mkdir()
    for file in [*folder.glob("s*/*.wav"), *folder.glob("s*/*/*.FLAC")]:
        shutil.copy(file, root / file.name)
    return root


def test_speakers_by_a_part_of_the_name(folder: Path, tmp_path: Path) -> None:
    path = speech.make(flat(folder, tmp_path / "flat"), tmp_path / "x.h5", speaker=r"^(s\d)-", content=WORD)
    with SequenceFile(path) as file:
        assert [factor.values[:2] for factor in file.factors] == [("s0", "s1"), ("s0-07-01", "s0-12-01"), ("07", "12")]
        assert len(file.factors[0].values) == 8
    with pytest.raises(DataError, match=r"the name has no speaker '\^\(x\)'; rename the file or change the expression"):
        speech.make(tmp_path / "flat", tmp_path / "y.h5", speaker="^(x)")


def test_speakers_by_a_table(folder: Path, tmp_path: Path) -> None:
    root, table = flat(folder, tmp_path / "flat"), tmp_path / "who.csv"
    lines = [
        f"{file.name},{'ann' if file.name < 's3' else 'bob' if file.name < 's6' else 'cy'}" for file in root.iterdir()
    ]
    table.write_text("\n".join(["file,speaker", *lines]))
    with SequenceFile(speech.make(root, tmp_path / "x.h5", table=str(table))) as file:
        assert file.factors[0].values == ("ann", "bob", "cy")
    for text, message in (
        ("\n".join(["file,speaker", *lines[1:]]), r"who\.csv has no line for 1 of 16 recordings, the first "),
        ("\n".join(["file,speaker", *lines, "s9.wav,ann"]), r"names 1 recordings that .*flat does not hold: s9"),
        ("\n".join(["file,speaker", *lines, lines[0] + "x"]), r"line 18: '.*' has no speaker, or two"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            speech.make(root, tmp_path / "y.h5", table=str(table))
    with pytest.raises(ConfigError, match="speaker and table both say who speaks"):
        speech.make(root, tmp_path / "y.h5", table=str(table), speaker="(x)")


@pytest.mark.parametrize("top", ["", "voices/"])
def test_a_zip_gives_what_its_folder_gives(folder: Path, tmp_path: Path, top: str) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{top}{file.relative_to(folder)}")
    with (
        SequenceFile(speech.make(folder, tmp_path / "a.h5", content=WORD)) as a,
        SequenceFile(speech.make(tmp_path / "v.zip", tmp_path / "b.h5", content=WORD)) as b,
    ):
        assert (a.factors, a.meta.licence) == (b.factors, b.meta.licence)
        np.testing.assert_array_equal(a.read(slice(None)), b.read(slice(None)))
        for split in ("train", "val", "test"):
            assert a.select(split).tolist() == b.select(split).tolist()


def test_a_recording_that_is_broken_off_in_a_zip(folder: Path, tmp_path: Path) -> None:
    broken(folder, "truncated")
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        for file in folder.glob("s*/*.wav"):
            archive.write(file, f"{file.relative_to(folder)}")
    with pytest.raises(FileFormatError, match=r"v\.zip: s3/s3-07-01\.wav is broken off: it has 5000 of 12844 bytes"):
        speech.make(tmp_path / "v.zip", tmp_path / "x.h5")


def test_speech_of_8_kilohertz(tmp_path: Path) -> None:
    for i, speaker in enumerate(SPEAKERS[:3]):
        (tmp_path / "v" / speaker).mkdir(parents=True)
        soundfile.write(tmp_path / "v" / speaker / "a.wav", tone(i, 0.4, 8000), 8000)
    reporter = Notes()
    with SequenceFile(speech.make(tmp_path / "v", tmp_path / "a.h5", reporter=reporter)) as file:
        assert file.element.shape == (201,)
    assert "no recording has more than 8000 samples a second: bins above 4000 Hz are empty" in reporter.lines[-1]
    reporter = Notes()
    with SequenceFile(speech.make(tmp_path / "v", tmp_path / "b.h5", rate=8000, reporter=reporter)) as file:
        assert (file.element.shape, file.steps, file.meta.rate) == ((101,), 20, 100)
        assert file.handle.attrs["bin_spacing"] == "40 Hz"
        assert file.handle.attrs["sample_rate"] == "8000 Hz"
        x, labels = file.read(slice(None)), file.labels()
        assert labels is not None
        assert (x[:, 5].argmax(-1) == 10 * (labels[:, 0] + 1)).all()
    assert not any("bins above" in line for line in reporter.lines)
    with pytest.raises(ConfigError, match=r"rate = 11025; expected a multiple of 400, such as 8000"):
        speech.make(tmp_path / "v", tmp_path / "c.h5", rate=11025)


def broken(folder: Path, how: str) -> None:
    sound = folder / "s3" / "s3-07-01.wav"
    if how == "truncated":
        sound.write_bytes(sound.read_bytes()[:5000])
    elif how == "text":
        sound.write_text("no sound")
    elif how == "empty speaker":
        (folder / "s9").mkdir()
    elif how == "no audio":
        (folder / "s9").mkdir()
        (folder / "s9" / "notes.txt").write_text("no sound")
    elif how == "twice":
        (folder / "s3" / "s3-07-01.flac").write_bytes(sound.read_bytes())


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("truncated", FileFormatError, r"s3-07-01\.wav is broken off: it has 5000 of 12844 bytes; copy it again"),
        ("text", FileFormatError, r"s3-07-01\.wav is not a recording that can be read: Format not recognised"),
        ("empty speaker", MissingFileError, r"the folder .*s9 holds no recording \(\.flac, \.wav\)"),
        ("no audio", MissingFileError, r"the folder .*s9 holds no recording"),
        ("twice", DataError, r"s3-07-01\.wav and .*s3-07-01\.flac have the same name; keep one"),
    ],
)
def test_a_broken_copy(folder: Path, tmp_path: Path, how: str, error: type[Exception], message: str) -> None:
    broken(folder, how)
    with pytest.raises(error, match=message) as caught:
        speech.make(folder, tmp_path / "x.h5")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [folder]


def test_sources_that_are_none(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="none does not exist; expected a folder of speaker folders with"):
        speech.make(tmp_path / "none", tmp_path / "x.h5")
    with pytest.raises(MissingFileError, match="empty holds no folders; expected speaker folders with"):
        speech.make(tmp_path / "empty", tmp_path / "x.h5")
    for i in range(2):
        (tmp_path / "two" / str(i)).mkdir(parents=True)
        soundfile.write(tmp_path / "two" / str(i) / "a.wav", np.zeros(3200), 16_000)
    with pytest.raises(DataError, match="two: speakers: 2 cannot be parted into train, val and test"):
        speech.make(tmp_path / "two", tmp_path / "x.h5")
    (tmp_path / "two" / "2").mkdir()
    soundfile.write(tmp_path / "two" / "2" / "a.wav", np.zeros(3200), 16_000)
    with pytest.raises(DataError, match="all 3 recordings are digital silence"):
        speech.make(tmp_path / "two", tmp_path / "x.h5")
    assert not list(tmp_path.glob("*x.h5*"))
    (tmp_path / "x.h5").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"x\.h5 exists already"):
        speech.make(folder, tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"content": "(["}, ConfigError, r"content = '\(\[' is not a regular expression"),
        ({"content": r"\d+"}, ConfigError, "has 0 groups; expected one"),
        ({"content": r"(\d)(\d)"}, ConfigError, "has 2 groups; expected one"),
        ({"scale": "loud"}, ConfigError, "unknown scale .loud.; choose one of magnitude, decibel"),
        ({"content": "-(x)-"}, DataError, r"s0-12-01\.FLAC: the name has no content '-\(x\)-'"),
        ({"test_fraction": 0.95, "val_fraction": 0.05}, ConfigError, "test_fraction = 0.95 and val_fraction = 0.05"),
    ],
)
def test_options_that_cannot_be_used(
    folder: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        speech.make(folder, tmp_path / "x.h5", **options)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(("module", "extra"), [("soundfile", "audio"), ("scipy", "train")])
def test_a_missing_extra_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    soundfile.write(folder / "s5" / "s5-07-01.wav", tone(5, 0.4, 8000), 8000)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(MissingExtraError, match=rf"needs {module}, not installed here; pip install 'sdkit\[{extra}\]'"):
        speech.make(folder, tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == [folder]


def test_the_real_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not REAL.is_dir():
        pytest.skip(f"no recordings at {REAL}; they are not part of this repository (SDKIT_DATA says where data are)")
    # Two recordings of each speaker: all of them take a quarter of a minute.
    every = speech._files
    monkeypatch.setattr(speech, "_files", lambda folder: every(folder)[::20])
    reporter = Notes()
    path = speech.make(REAL, tmp_path / "x.h5", content=WORD, compression="none", reporter=reporter)
    with SequenceFile(path) as file:
        file.check()
        assert file.meta.licence == "MIT License"
        assert len(file.factors[0].values) == 34
        assert file.factors[2].values == ("00", "10")
        labels = file.labels()
        assert labels is not None
        sides = {split: set(labels[file.split(split), 0].tolist()) for split in ("train", "val", "test")}
        assert {split: len(people) for split, people in sides.items()} == {"train": 21, "val": 3, "test": 10}
        assert len(set.union(*sides.values())) == 34
        x = file.read(slice(None))
    # Recordings of about 2 s have 10 or 11 pieces; speech is loudest below 2 kHz.
    assert 8 * 68 < len(x) <= 11 * 68
    assert x[..., :50].sum() > 2 * x[..., 50:].sum()
    assert any(line.startswith("dropped ") for line in reporter.lines)
