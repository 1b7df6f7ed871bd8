"""TIMIT, on a made-up copy of its layout: the 24 core test speakers and a few others, whose tones say who speaks."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.data import timit
from sdkit.runtime.errors import DataError, FileFormatError, MissingFileError
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile

soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")

CORE = {
    "DR1": ["MDAB0", "MWBT0", "FELC0"],
    "DR2": ["MTAS1", "MWEW0", "FPAS0"],
    "DR3": ["MJMP0", "MLNT0", "FPKT0"],
    "DR4": ["MLLL0", "MTLS0", "FJLM0"],
    "DR5": ["MBPM0", "MKLT0", "FNLP0"],
    "DR6": ["MCMJ0", "MJDH0", "FMGD0"],
    "DR7": ["MGRT0", "MNJM0", "FDHC0"],
    "DR8": ["MJLN0", "MPAM0", "FMLD0"],
}
TEST = [("TEST", dialect, speaker) for dialect, speakers in CORE.items() for speaker in speakers]
OTHERS = [("TEST", "DR1", "FAKS0"), ("TEST", "DR8", "MRES0")]
TRAIN = [("TRAIN", "DR1", "FCJF0"), ("TRAIN", "DR2", "MARC0"), ("TRAIN", "DR8", "MBCG0")]
EVERYBODY = TRAIN + TEST + OTHERS
SENTENCES = ("SA1", "SX37", "SI999")


class Notes(Quiet):
    """A reporter that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def tone(speaker: str) -> Any:
    """Return 250 ms of a tone in a bin of the spectrum that is this speaker's."""
    k = 5 + 6 * [name for _, _, name in EVERYBODY].index(speaker)
    return 0.5 * np.sin(2 * np.pi * 40 * k * np.arange(4000) / 16_000)


def corpus(root: Path, kind: str = "NIST", lower: bool = False) -> Path:
    """Write a copy of the corpus in a format, in capitals or not."""
    for part in EVERYBODY:
        for sentence in SENTENCES:
            names = [*part, f"{sentence}.WAV"]
            path = root.joinpath(*(name.lower() for name in names) if lower else names)
            path.parent.mkdir(parents=True, exist_ok=True)
            sound = np.ones(4000) * 0.9 if sentence == "SA1" else tone(part[2])
            soundfile.write(path, sound, 16_000, format=kind, subtype="PCM_16")
            path.with_suffix(".PHN").write_text("0 4000 h#")
    (root / "DOC").mkdir()
    return root


@pytest.fixture(scope="module")
def sphere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("sphere") / "TIMIT")


@pytest.fixture
def copy(sphere: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sphere, tmp_path / "copy"))


def test_the_file(sphere: Path, tmp_path: Path) -> None:
    assert (sphere / "TEST/DR1/MDAB0/SX37.WAV").read_bytes().startswith(b"NIST_1A\n")
    reporter = Notes()
    with SequenceFile(timit.make(sphere, tmp_path / "x.h5", reporter=reporter)) as file:
        file.check()
        assert (file.count, file.steps, file.element.shape) == (29 * 2 * 2, 20, (201,))
        assert (file.meta.name, file.meta.rate, file.meta.licence) == ("timit", 100, "LDC user agreement")
        assert "LDC93S1" in file.meta.source
        assert [(f.name, f.kind) for f in file.factors] == [
            ("speaker", "static"),
            ("recording", "static"),
            ("dialect", "static"),
            ("sex", "static"),
        ]
        speakers, recordings, dialects, sexes = (factor.values for factor in file.factors)
        assert speakers == tuple(sorted(name for _, _, name in EVERYBODY))
        assert len(recordings) == 29 * 2
        assert not any("SA1" in recording for recording in recordings)
        assert dialects == ("DR1", "DR2", "DR3", "DR4", "DR5", "DR6", "DR7", "DR8")
        assert sexes == ("female", "male")
        labels, x = file.labels(), file.read(slice(None))
        assert labels is not None
        people = {split: {speakers[i] for i in labels[file.split(split), 0]} for split in ("train", "val", "test")}
    assert people == {
        "train": {"FCJF0", "MARC0", "MBCG0"},
        "val": {"FAKS0", "MRES0"},
        "test": {name for _, _, name in TEST},
    }
    where = {name: dialect for _, dialect, name in EVERYBODY}
    for row, piece in zip(labels.tolist(), x, strict=True):
        speaker = speakers[row[0]]
        assert recordings[row[1]].split("/")[0] == speaker
        assert dialects[row[2]] == where[speaker]
        assert sexes[row[3]] == {"F": "female", "M": "male"}[speaker[0]]
        assert piece[3].argmax() == 5 + 6 * [name for _, _, name in EVERYBODY].index(speaker)
    assert reporter.lines == [
        "kept 116 pieces of 200 ms from 58 recordings: "
        "train 12 of 3 speakers, val 8 of 2 speakers, test 96 of 24 speakers",
        "this copy has 29 speakers, the whole corpus 630",
    ]


def test_copies_in_other_dress_give_the_same_file(sphere: Path, tmp_path: Path) -> None:
    corpus(tmp_path / "outer" / "data" / "timit", kind="WAV", lower=True)
    converted = tmp_path / "outer" / "data" / "timit" / "train" / "dr1" / "fcjf0" / "sx37.wav.wav"
    shutil.copy(converted.with_name("sx37.wav"), converted)
    converted.with_name("._si999.wav").write_text("what some systems put beside every file")
    with (
        SequenceFile(timit.make(sphere, tmp_path / "a.h5")) as a,
        SequenceFile(timit.make(tmp_path / "outer", tmp_path / "b.h5")) as b,
    ):
        assert a.factors == b.factors
        np.testing.assert_array_equal(a.labels(), b.labels())
        np.testing.assert_array_equal(a.read(slice(None)), b.read(slice(None)))
        for split in ("train", "val", "test"):
            np.testing.assert_array_equal(a.split(split), b.split(split))


def broken(root: Path, how: str) -> None:
    speaker = root / "TEST" / "DR3" / "MJMP0"
    if how == "no test":
        shutil.rmtree(root / "TEST")
    elif how == "no regions":
        shutil.rmtree(root / "TRAIN")
        (root / "TRAIN" / "DR9").mkdir(parents=True)
    elif how == "core speaker":
        shutil.rmtree(speaker)
    elif how == "no audio":
        for file in speaker.glob("S[XI]*.WAV"):
            file.unlink()
    elif how == "truncated":
        file = speaker / "SX37.WAV"
        file.write_bytes(file.read_bytes()[:3000])
    elif how == "text":
        (speaker / "SX37.WAV").write_text("no sound")
    elif how == "both sides":
        shutil.copytree(speaker, root / "TRAIN" / "DR3" / "MJMP0")
    elif how == "no speaker":
        speaker.rename(speaker.with_name("MJMP0 (copy)"))


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("no test", MissingFileError, "copy holds no folder with TRAIN and TEST; expected TRAIN and TEST, in them DR1"),
        ("no regions", MissingFileError, "TRAIN holds none of the dialect regions DR1 to DR8"),
        ("core speaker", MissingFileError, "copy lacks the core test speaker TEST/DR3/MJMP0; copy it again"),
        ("no audio", MissingFileError, r"the folder .*DR3/MJMP0 holds no recording \(\.WAV\) besides SA1 and SA2"),
        ("truncated", FileFormatError, r"MJMP0/SX37\.WAV is broken off: it has 3000 of 9024 bytes; copy it again"),
        ("text", FileFormatError, r"MJMP0/SX37\.WAV is not a recording that can be read: Format not recognised"),
        ("both sides", DataError, "speaker MJMP0 is in .*TRAIN/DR3/MJMP0 and in .*TEST/DR3/MJMP0; remove one"),
        ("no speaker", FileFormatError, r"MJMP0 \(copy\) is not named as a speaker of TIMIT is, such as FELC0"),
    ],
)
def test_a_broken_copy(copy: Path, tmp_path: Path, how: str, error: type[Exception], message: str) -> None:
    broken(copy, how)
    with pytest.raises(error, match=message) as caught:
        timit.make(copy, tmp_path / "x.h5")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [copy]


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="none does not exist; expected a folder of TRAIN and TEST"):
        timit.make(tmp_path / "none", tmp_path / "x.h5")
    with pytest.raises(MissingFileError, match="empty holds no folders; expected TRAIN and TEST"):
        timit.make(tmp_path / "empty", tmp_path / "x.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
