"""The figures of an evaluation: maps of the codes, paths, reconstructions, swaps, generated sequences, confusions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdkit.evaluation.base import BOTH_CODES
from sdkit.evaluation.codes.encoded import encode_file
from sdkit.evaluation.data import label_column, targets_of
from sdkit.evaluation.stage import stage
from sdkit.figures.axis_scales import read_scales
from sdkit.figures.confusion import confusion_figure
from sdkit.figures.draw import animated, draw_clip, draw_reconstruction, draw_rows, draw_swap
from sdkit.figures.embedding import FEWEST, by_label, static_against_dynamic
from sdkit.figures.style import save
from sdkit.figures.trajectories import trajectories
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.noise import Draw, generator
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.data import equal_lengths

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

POINTS = 600
"""Largest number of sequences on a map; the time of t-SNE grows with its square."""
DAYS = 1500
PAIRS, ROWS = 4, 6
MOST_VALUES = 50
"""Largest number of values of a factor that is drawn; the recording, for instance, has more."""

Picture = tuple[str, "Figure | Image | list[Image]"]


def draw(
    verbs: Verbs, file: SequenceFile, results: dict[str, Any], folder: Path, *, seed: int, reporter: Reporter
) -> list[str]:
    """Write the figures that a file's labels and element and the model's verbs allow, and return their names.

    Args:
        verbs: the model.
        file: sequence file with a test split.
        results: results of `measure`, for the confusion matrices.
        folder: existing folder to write to.
        seed: seed of choices, maps and draws.
        reporter: receives progress and notes.
    """
    names = []
    with stage(reporter, "drawing figures", 1) as told:
        for name, picture in _pictures(verbs, file, results, seed):
            save(picture, folder / name, rate=file.meta.rate or 8.0)
            names.append(name)
        told.advance()
    return names


def _pictures(verbs: Verbs, file: SequenceFile, results: dict[str, Any], seed: int) -> Iterator[Picture]:
    index = _some(file.select("test"), POINTS, seed)
    note = f"{file.meta.name or file.path.stem}, test split; {results['subject']['path']}."
    if "encode" not in verbs.abilities.refusals:
        yield from _coded(verbs, file, index, seed, note)
    yield from _decoded(verbs, file, index, seed, note)
    for name, factor_scores in results.get("judge", {}).get("dynamic_kept", {}).get("factors", {}).items():
        factor = next(f for f in file.factors if f.name == name)
        if factor_scores["kept"]:
            counts = np.asarray(factor_scores["confusion"])
            text = "Dynamic codes kept, static code drawn from its prior; seen by the judge. " + note
            yield f"confusion-{_plain(name)}.png", confusion_figure(counts, factor.values, factor=name, note=text)


def _coded(verbs: Verbs, file: SequenceFile, index: Indices, seed: int, note: str) -> Iterator[Picture]:
    """Yield the maps and paths of codes."""
    codes, lengths = encode_file(verbs, file, index), file.lengths()
    lengths = None if lengths is None else lengths[index]
    split_in_two = BOTH_CODES in verbs.abilities.verbs
    if len(index) >= FEWEST and split_in_two:
        yield "codes.png", static_against_dynamic(codes.static, codes.dynamic, seed=seed, note=note)
    for factor in file.factors:
        if factor.kind == "static" and not split_in_two:
            continue
        if 2 <= len(factor.values) <= MOST_VALUES and len(index) >= FEWEST:
            labels = label_column(file, factor.name)[index]
            read, what = (codes.static, "static codes") if factor.kind == "static" else _means(codes, lengths)
            drawn = by_label(read, labels, factor.values, factor=factor.name, what=what, seed=seed, note=note)
            yield f"codes-{_plain(factor.name)}.png", drawn
    if split_in_two and verbs.element.traits.windowed and "targets" in file.names and _has(file, "season"):
        yield "days-season.png", _days(verbs, file, index, seed, note)
    yield from _paths(file, index, codes, lengths, note)


def _paths(file: SequenceFile, index: Indices, codes: Codes, lengths: Indices | None, note: str) -> Iterator[Picture]:
    usable = [f for f in file.factors if 2 <= len(f.values) <= MOST_VALUES]
    factor = next((f for f in usable if f.kind == "dynamic"), usable[0] if usable else None)
    labels = np.zeros(len(index), np.int64) if factor is None else label_column(file, factor.name)[index]
    names = ("all",) if factor is None else factor.values
    title = "sequences" if factor is None else factor.name
    if codes.dynamic.shape[2] > 1:
        yield "paths.png", trajectories(codes.dynamic, labels, names, lengths=lengths, factor=title, note=note)


def _decoded(verbs: Verbs, file: SequenceFile, index: Indices, seed: int, note: str) -> Iterator[Picture]:
    element, refused = verbs.element, verbs.abilities.refusals
    if not element.drawable:
        return
    look: dict[str, Any] = {"scales": read_scales(file.scales(), element), "note": note}
    x = _alike(file, index, 2 * PAIRS)
    if "reconstruct" not in refused:
        drawn = x[: ROWS // 2]
        found = verbs.decode_outputs(verbs.encode(drawn))
        figure = draw_reconstruction(drawn, element.cast(found["x"]), found.get("x_std"), element, **look)
        yield "reconstruction.png", figure
    half = len(x) // 2
    if half and "swap" not in refused:
        a, b = x[:half], x[half : 2 * half]
        ab, ba = (element.cast(part) for part in verbs.swap(a, b))
        yield "swap.png", draw_swap(a, b, ab, ba, element, **look)
    if "generate" in refused:
        return
    made = element.cast(verbs.generate(ROWS, min(x.shape[1], verbs.abilities.max_steps or x.shape[1]), seed=seed))
    look["note"] = f"Both codes drawn from the prior with seed {seed}. {note}"
    yield "generated.png", draw_rows([(str(i), y) for i, y in enumerate(made)], element, **look)
    if animated(element):
        yield "generated.gif", draw_clip(made, element, scale=2)


def _days(verbs: Verbs, file: SequenceFile, index: Indices, seed: int, note: str) -> "Figure":
    """Return the map of the static code read at every window, coloured by season, sized by rain (paper fig. 5).

    For `dbse` the static code depends on the anchor alone, so a day that stands twice gives its code for any anchor.
    """
    targets, season = targets_of(file), label_column(file, "season")
    codes, rain, labels = [], [], []
    for rows, x in equal_lengths(file, index, POINTS):
        for t in range(x.shape[1]):
            codes.append(verbs.encode(x[:, [t, t]]).static)
            rain.append(targets[rows, t, 0])
            labels.append(season[rows])
    chosen = _some(np.arange(sum(map(len, codes))), DAYS, seed)
    names = next(f.values for f in file.factors if f.name == "season")
    return by_label(
        np.concatenate(codes)[chosen],
        np.concatenate(labels)[chosen],
        names,
        np.nan_to_num(np.concatenate(rain)[chosen]).clip(0),
        factor="season",
        size_name="rain (mm a day)",
        what="static codes, each read from one window of a day",
        seed=seed,
        note=note,
    )


def _means(codes: Codes, lengths: Indices | None) -> tuple[Array, str]:
    """Return the mean of the dynamic codes over valid steps, and its name in a caption."""
    count, steps = codes.dynamic.shape[:2]
    valid = np.ones((count, steps), bool) if lengths is None else np.arange(steps) < lengths[:, None]
    total = np.where(valid[..., None], codes.dynamic, 0).sum(1)
    return total / valid.sum(1, keepdims=True), "dynamic codes, averaged over steps"


def _alike(file: SequenceFile, index: Indices, most: int) -> Array:
    """Return at most `most` sequences of the most frequent length (B, T, *element)."""
    lengths = file.lengths()
    if lengths is not None:
        values, counts = np.unique(lengths[index], return_counts=True)
        index = index[lengths[index] == values[counts.argmax()]]
    return next(equal_lengths(file, index, most))[1]


def _plain(name: str) -> str:
    """Return a factor's name in a form for file names, since a file may give its factors any name."""
    return re.sub(r"[^\w.-]+", "-", name)


def _has(file: SequenceFile, factor: str) -> bool:
    return any(f.name == factor for f in file.factors)


def _some(index: Indices, most: int, seed: int) -> Indices:
    if len(index) <= most:
        return index
    return np.sort(generator(seed, Draw.POINTS).choice(index, most, replace=False))
