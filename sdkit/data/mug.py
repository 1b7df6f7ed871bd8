"""MUG facial expressions (Aifanti et al. 2010): 15 frames of a clip, cropped to the face (appendix A.1 of the paper).

The paper does not say which clips it trains on, nor where its crop lies. Here no subject is in two splits by default,
and a clip has one square crop, so that the face moves inside it as it does in the clip.
"""

import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdkit.data.reading import PICTURE, PIXELS, library, listed, read_file
from sdkit.data.said import NOTHING, Said
from sdkit.data.subjects import LEAST, deal, folders
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, MissingExtraError, MissingFileError
from sdkit.runtime.extras import need
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SPLITS, Factor, SequenceMeta, SequenceWriter

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int]
"""Left edge, top edge and side of a square, in pixels."""
Detector = Callable[[Pixels], Box | None]
"""Function that finds the face in a frame (H, W, 3)."""

EXPRESSIONS = ("anger", "disgust", "happiness", "fear", "sadness", "surprise")
IMAGES = (".jpg", ".jpeg", ".png")
VIDEOS = (".avi", ".mp4")
LAYOUT = "a folder a subject, in it a folder an expression, in it clips (folders of frames, or video files)"
STEPS = 15
"""Number T of frames sampled from a clip."""
SIZE = 64
"""Pixels of a side of a frame."""
CASCADE = "haarcascade_frontalface_default.xml"
LEAST_FACE = 0.2
"""Side of the smallest face that is searched for, as a share of the frame's shorter side."""
COMPLETE = 0.9
"""Share of the frames stated in a video's header that must exist; headers are sometimes a few frames wrong."""


@dataclass(frozen=True)
class Clip:
    """A folder of frames or a video file."""

    path: Path
    name: str
    """Path inside the data set; with the seed it determines which frames are sampled."""
    subject: str
    expression: str


def make(
    source: str | Path,
    path: str | Path,
    *,
    by: str = "subject",
    seed: int = 0,
    test_fraction: float = 0.2,
    val_fraction: float = 0.1,
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Sample, crop and write the clips of the six expressions as a sequence file, (N, 15, 3, 64, 64) RGB.

    The 15 frames of a clip are drawn without replacement and kept in order. The crop is the median of the faces that
    the Haar cascade finds in them. Clips with fewer frames, or without a face in any, are dropped and counted. Factors
    are `subject` (static) and `expression` (dynamic).

    Args:
        source: the folder of subjects.
        path: the file to write.
        by: unit that is dealt to the splits: a `subject`, so that none is in two, or a `clip`, so that every subject
            with three clips or more is in all, as is needed to recognise subjects on test clips.
        seed: seed of the sampled frames and of the permutation that deals out.
        test_fraction: share of the `test` split.
        val_fraction: share of the `val` split.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes.

    Raises:
        ConfigError: another `by`, or fractions that leave nothing to train on.
        MissingFileError: no folder, no subject in it, or a subject without folders.
        FileFormatError: a frame or a video that cannot be read.
        DataError: fewer than three subjects, or no usable clip.
        OutputExistsError: `path` exists and `force` is off.
        MissingExtraError: the extra `video` is not installed.
    """
    if by not in ("subject", "clip"):
        raise ConfigError(f"by = '{by}'; choose subject or clip")
    need("video", "cv2", what="cropping faces")
    reporter = reporter or Quiet()
    clips, skipped = find(Path(source))
    sides = _sides(Path(source), clips, by, seed=seed, test_fraction=test_fraction, val_fraction=val_fraction)
    subjects = tuple(sorted({clip.subject for clip in clips}))
    factors = (Factor("subject", "static", subjects), Factor("expression", "dynamic", EXPRESSIONS))
    element = Element("image", (3, SIZE, SIZE), "uint8", ("grey level",))
    origin = "MUG facial expression database (Aifanti et al. 2010)"
    meta = SequenceMeta(element, "mug", factors, source=origin, licence="licence agreement of the MUG database")
    dropped: Counter[str] = Counter()
    parts: dict[str, list[int]] = {split: [] for split in SPLITS}
    with SequenceWriter(path, said.of(meta), compression=compression, force=force) as writer:
        find_face = face_detector()
        reporter.start("cropping clips", len(clips))
        for clip, side in zip(clips, sides, strict=True):
            frames = sample(clip, seed)
            x = None if frames is None else crop(frames, find_face)
            if x is None:
                dropped[f"of fewer than {STEPS} frames" if frames is None else "without a face that was found"] += 1
            else:
                parts[side].append(writer.count)
                labels = np.array([[subjects.index(clip.subject), EXPRESSIONS.index(clip.expression)]])
                writer.write(x[None], labels=labels)
            reporter.advance()
        reporter.finish()
        if writer.count == 0:
            why = ", ".join(f"{count} {what}" for what, count in sorted(dropped.items()))
            raise DataError(f"{source}: none of the {len(clips)} clips can be used: {why}")
        writer.splits({split: index for split, index in parts.items() if index})
    _tell(clips, parts, dropped, skipped, reporter)
    return Path(path)


def find(source: Path) -> tuple[list[Clip], Counter[str]]:
    """Return the clips of the six expressions in the order of their paths, and the number of other folders by name.

    Raises:
        MissingFileError: no folder, no subject in it, a subject without folders, or no folder of an expression at all.
    """
    clips: list[Clip] = []
    skipped: Counter[str] = Counter()
    for subject in folders(source, LAYOUT):
        for folder in folders(subject, "a folder an expression"):
            expression = folder.name.lower()
            if expression in EXPRESSIONS:
                clips += [Clip(p, p.relative_to(source).as_posix(), subject.name, expression) for p in _clips(folder)]
            else:
                skipped[expression] += 1
    if not clips:
        raise MissingFileError(
            f"{source} holds no folder of an expression ({', '.join(EXPRESSIONS)}); expected {LAYOUT}"
        )
    return clips, skipped


def _clips(expression: Path) -> Iterator[Path]:
    """Yield folders of frames and video files; an empty folder is a clip without frames."""
    seen = {_identity(expression)}
    for name, below, files in os.walk(expression, followlinks=True):
        below[:] = sorted(folder for folder in below if not folder.startswith("."))
        for folder in below:
            if (identity := _identity(Path(name, folder))) in seen:
                raise FileFormatError(f"{Path(name, folder)} links to a folder that is read already; remove the link")
            seen.add(identity)
        videos = [file for file in sorted(files) if _is(file, VIDEOS)]
        if any(_is(file, IMAGES) for file in files) or not (below or videos):
            yield Path(name)
        yield from (Path(name, file) for file in videos)


def _identity(folder: Path) -> tuple[int, int]:
    """Return what a folder and all links to it share."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is(file: str, suffixes: Sequence[str]) -> bool:
    return file.lower().endswith(tuple(suffixes)) and not file.startswith(".")


def _sides(source: Path, clips: Sequence[Clip], by: str, **options: Any) -> list[str]:
    """Return the split of each clip, which depends on names alone, not on which clips are usable."""
    subjects = {clip.subject for clip in clips}
    if by == "subject":
        try:
            side = deal(subjects, **options)
        except DataError as error:
            raise DataError(f"{source}: subjects: {error}, or by = 'clip'") from error
        return [side[clip.subject] for clip in clips]
    side = {}
    for subject in subjects:
        names = [clip.name for clip in clips if clip.subject == subject]
        side.update(deal(names, **options) if len(names) >= LEAST else dict.fromkeys(names, "train"))
    return [side[clip.name] for clip in clips]


def sample(clip: Clip, seed: int) -> Pixels | None:
    """Return 15 frames of a clip in order, (15, H, W, 3) RGB, or None if it has fewer.

    Raises:
        FileFormatError: a frame or the video cannot be read, or frames differ in size.
    """
    generator = np.random.default_rng([seed, zlib.crc32(clip.name.encode())])
    read = _frames if clip.path.is_dir() else _video
    frames = read(clip.path, lambda count: np.sort(generator.choice(count, STEPS, replace=False)))
    if frames and len({frame.shape for frame in frames}) > 1:
        raise FileFormatError(f"{clip.path} holds frames of different sizes")
    return np.stack(frames) if frames else None


def _frames(folder: Path, choose: Callable[[int], NDArray[np.int64]]) -> list[Pixels]:
    # By number, so that frame 10 comes after frame 9 where numbers are not padded.
    names = (file.name for file in folder.iterdir() if _is(file.name, IMAGES))
    files = sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )
    return [_image(folder / files[i]) for i in choose(len(files))] if len(files) >= STEPS else []


def _image(path: Path) -> Pixels:
    from PIL import Image

    data, expected = read_file(path, PICTURE), "an image that can be read"
    with library(str(path), expected):
        image = Image.open(BytesIO(data), formats=["JPEG", "PNG"])
    _check_pixels(path, *image.size)  # before any pixel is unpacked
    with library(str(path), expected):
        return np.asarray(image.convert("RGB"))


def _check_pixels(path: Path, width: float, height: float) -> None:
    if not width * height <= PIXELS:
        raise FileFormatError(f"{path} states {width:.0f}x{height:.0f} pixels; at most {PIXELS:,} are read")


def _video(path: Path, choose: Callable[[int], NDArray[np.int64]]) -> list[Pixels]:
    cv2 = _opencv()
    count, promised, expected = 0, 0.0, "a video that can be read"
    with library(str(path), expected):
        video = cv2.VideoCapture(str(path))
        width, height = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
    _check_pixels(path, width, height)
    with library(str(path), expected):
        if video.isOpened():
            promised = video.get(cv2.CAP_PROP_FRAME_COUNT)
            while video.grab():
                count += 1
    if count == 0:
        raise FileFormatError(f"{path} is not a video that can be read")
    if count < COMPLETE * promised:
        raise FileFormatError(f"{path} is broken off: {count} of {promised:.0f} frames can be read; copy it again")
    if count < STEPS:
        return []
    # Read a second time from the start: seeking is not exact in every format.
    chosen = set(choose(count).tolist())
    frames = []
    with library(str(path), expected):
        video.open(str(path))
        for i in range(count):
            video.grab()
            if i in chosen:
                frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
    return frames


def _opencv() -> Any:
    # OpenCV's video reader reports broken files on stderr by itself; here the error has its own line.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    return cv2


def face_detector() -> Detector:
    """Return a function that finds the largest face in a frame with OpenCV's Haar cascade of frontal faces.

    Raises:
        MissingExtraError: the installed OpenCV has no cascades.
    """
    cv2 = _opencv()
    cascade = Path(cv2.data.haarcascades, CASCADE)
    if not cascade.is_file():
        raise MissingExtraError(f"OpenCV {cv2.__version__} does not bring {CASCADE}; pip install 'sdkit[video]'")
    classifier = cv2.CascadeClassifier(str(cascade))

    def find_face(frame: Pixels) -> Box | None:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        least = round(LEAST_FACE * min(grey.shape))
        found = classifier.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(least, least))
        return max(((int(x), int(y), int(side)) for x, y, side, _ in found), key=lambda box: box[2], default=None)

    return find_face


def crop(frames: Pixels, find_face: Detector) -> Pixels | None:
    """Return the face in all frames, (T, 3, 64, 64), or None if it is found in none.

    The square is the median of those found, so that neither a miss nor a false detection in one frame moves it.

    Args:
        frames: (T, H, W, 3) RGB.
        find_face: returns the square of a face in a frame.
    """
    cv2 = _opencv()
    found = [box for box in map(find_face, frames) if box is not None]
    if not found:
        return None
    height, width = frames.shape[1:3]
    left, top, side = np.rint(np.median(found, axis=0)).astype(int).tolist()
    left, top = min(left, width - side), min(top, height - side)
    how = cv2.INTER_AREA if side > SIZE else cv2.INTER_LINEAR
    faces = [cv2.resize(f[top : top + side, left : left + side], (SIZE, SIZE), interpolation=how) for f in frames]
    return np.ascontiguousarray(np.stack(faces).transpose(0, 3, 1, 2))


def _tell(
    clips: Sequence[Clip],
    parts: dict[str, list[int]],
    dropped: Counter[str],
    skipped: Counter[str],
    reporter: Reporter,
) -> None:
    sides = ", ".join(f"{split} {len(index)}" for split, index in parts.items())
    subjects = len({clip.subject for clip in clips})
    reporter.note(f"kept {sum(map(len, parts.values()))} of {len(clips)} clips of {subjects} subjects: {sides}")
    for what, count in sorted(dropped.items()):
        reporter.note(f"dropped {count} clips {what}")
    if skipped:
        names = listed(f"{name} ({count})" for name, count in sorted(skipped.items()))
        reporter.note(f"passed over folders that are none of the six expressions: {names}")
