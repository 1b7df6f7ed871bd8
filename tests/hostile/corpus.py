"""Sound files of every format that sdkit reads, small ones, from which mutated copies are made."""

import warnings
import wave
from collections.abc import Mapping
from contextlib import chdir
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sdkit.export.proof.cases import sample
from sdkit.runtime.element import Element
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter
from sdkit.training.loop import CollapseWarning
from sdkit.training.train import train
from tests.export.runs import lively_model, quick_export, write_data, write_run
from tests.tiny import IMAGE

SERIES = Element("series", (4, 3), "float32", ("mmHg", "degC", "%"), ("pressure", "temperature", "humidity"))
VECTOR = Element("vector", (3,), "float32", ("m", "rad", "N"), ("place", "angle", "force"))
ELEMENTS = {"image": IMAGE, "series": SERIES, "vector": VECTOR}
COUNT, STEPS = 12, 5
LONG = 2000
"""Number of sequences that take a command some seconds."""
HOURS = 17_420
"""Number of rows of a table of hours, as ETTh1 has them."""


class Original(NamedTuple):
    """A sound input, and how it is used."""

    format: str
    """Name in the table of the campaign."""
    path: Path
    """File or folder that is copied and mutated."""
    commands: tuple[str, ...]
    """Command lines in which `IN` is the mutated copy, `OUT` an output without suffix; other capitals name sound inputs
    of the same kind of element."""
    sound: Mapping[str, Path] = MappingProxyType({})
    """Paths of the sound inputs by their name in the command lines."""
    place: str = ""
    """Place of the copy in the folder that a command runs in; `input` with the original's suffix when empty."""


def originals(folder: Path) -> list[Original]:
    """Write all originals into a folder that exists."""
    return [*(found for kind in ELEMENTS for found in _of_kind(folder, kind)), *_runs(folder), *_sources(folder)]


def long_inputs(folder: Path) -> dict[str, Path]:
    """Write inputs that commands work on for a while, by the names that command lines have for them."""
    run = write_run(folder / "run" / "runs" / "blocks", lively_model(element=IMAGE))
    data = write_data(folder / "data.h5", IMAGE, count=LONG)
    return {"DATA": data, "BUNDLE": quick_export(run, folder / "bundle").path, "RUN": run.path}


def _of_kind(folder: Path, kind: str) -> list[Original]:
    element, here = ELEMENTS[kind], folder / kind
    here.mkdir()
    run = write_run(here / "runs" / "blocks", lively_model(element=element))
    bundle = quick_export(run, here / "bundle").path
    data = _sequences(here / "data.h5", element)
    rt = Runtime.open(bundle)
    codes = rt.encode_file(data, here / "codes.h5")
    swap = rt.swap_file(data, data, here / "swap.h5")
    sound = {"BUNDLE": bundle, "GOOD": data, "CODES": codes}
    small = "--epochs 1 --set encoder_widths=[4,6,8] --set decoder_widths=[8,6,4] --set static_size=3"
    decode, render = "decode IN -b BUNDLE -o OUT.h5", "render IN -o OUT.png --count"
    of_sequences = (
        "encode IN -b BUNDLE -o OUT.h5",
        "encode IN -b BUNDLE -o OUT.h5 --split test --seed 1 --compression none",
        "swap IN GOOD -b BUNDLE -o OUT.h5 --no-picture",
        "swap GOOD IN -b BUNDLE -o OUT.h5",
        "reconstruct IN -b BUNDLE -o OUT.h5 --compression lz4",
        "generate --keep static --like IN -b BUNDLE -o OUT.h5",
        "generate --keep dynamic --like IN -b BUNDLE -o OUT.h5 --resume",
        "render IN -o OUT.png --count 2",
        "data info IN",
        "data info IN --check --json",
        f"train IN {small} --name new",
    )
    return [
        Original(f"sequences, {kind}", data, of_sequences, sound),
        Original(f"codes, {kind}", codes, (decode, f"{decode} --resume"), sound),
        Original(f"swaps, {kind}", swap, (f"{render} 2", f"{render} 1 --first 3"), sound),
        Original(
            f"bundle, {kind}",
            bundle,
            (
                *("info IN", "info IN --json", "encode GOOD -b IN -o OUT.h5", "decode CODES -b IN -o OUT.h5"),
                *("generate -n 2 -b IN -o OUT.h5", "swap GOOD GOOD -b IN -o OUT.h5 --no-picture", "verify IN"),
            ),
            sound,
        ),
    ]


def _sequences(path: Path, element: Element) -> Path:
    """Write sequences of several lengths with everything that a file may hold."""
    meta = SequenceMeta(
        element,
        factors=(Factor("who", "static", ("ann", "bob", "cem")), Factor("what", "dynamic", ("walk", "turn"))),
        name="blocks",
        source="drawn for tests",
        licence="CC0",
        rate=8.0,
    )
    rng = np.random.default_rng(0)
    with SequenceWriter(path, meta) as writer:
        writer.write(sample(element, COUNT, STEPS, 3))
        writer.splits({"train": range(6), "val": range(6, 8), "test": range(8, COUNT)})
        writer.put("labels", rng.integers(0, 2, (COUNT, 2)))
        writer.put("targets", rng.random((COUNT, STEPS, 1), np.float32))
        if not element.traits.pictorial:
            writer.put("lengths", np.r_[np.full(COUNT - 2, STEPS), STEPS - 1, 2])
    return path


def _runs(folder: Path) -> list[Original]:
    """Train a tiny model for an epoch."""
    data = folder / "plain.h5"
    with SequenceWriter(data, SequenceMeta(IMAGE, name="plain")) as writer:
        writer.write(sample(IMAGE, COUNT, STEPS, 3))
        writer.splits({"train": range(6), "val": range(6, 8), "test": range(8, COUNT)})
    sizes: dict[str, Any] = {"static_size": 3, "dynamic_size": 3, "hidden_size": 6, "prior_hidden_size": 6}
    widths: dict[str, Any] = {"encoder_widths": (4, 6, 8), "decoder_widths": (8, 6, 4)}
    with chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)  # what an epoch has learned does not matter
        run = train(data, name="short", epochs=1, swap_every=0, **sizes, **widths)
    commands = ("evaluate IN --data GOOD --no-figures --repeats 1", "train --resume --name input --epochs 2")
    return [Original("run", folder / run.path, commands, {"GOOD": data}, place="runs/input")]


def _sources(folder: Path) -> list[Original]:
    here = folder / "sources"
    here.mkdir()
    rng = np.random.default_rng(0)
    arrays = {"data": rng.random((6, 5, 4, 3), np.float32), "labels": rng.integers(0, 2, 6), "lengths": np.full(6, 4)}
    np.savez_compressed(here / "arrays.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub has one keyword
    np.save(here / "array.npy", rng.random((6, 10, 3), np.float32))
    _hours(here / "hours")
    _voices(here / "voices")
    make: dict[str, tuple[str, str]] = {
        "npz": ("arrays.npz", "data make arrays IN -o OUT.h5"),
        "npy": ("array.npy", "data make arrays IN -o OUT.h5 --set window=2"),
        "table": ("hours", "data make etth1 IN -o OUT.h5"),
        "sound": ("voices", "data make speech IN -o OUT.h5"),
    }
    return [Original(f"source, {name}", here / path, (command,)) for name, (path, command) in make.items()]


def _hours(folder: Path) -> None:
    folder.mkdir()
    start = datetime(2016, 7, 1)
    rows = ["date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT"]
    rows += [f"{start + timedelta(hours=h)},{h % 7},{h % 5},1.5,2.5,{h % 3},0.25,{h % 11}" for h in range(HOURS)]
    (folder / "ETTh1.csv").write_text("\n".join(rows) + "\n")


def _voices(folder: Path) -> None:
    for speaker in range(8):
        (folder / f"s{speaker}").mkdir(parents=True)
        sound = 0.5 * np.sin(2 * np.pi * 300 * (speaker + 1) * np.arange(6400) / 16_000)
        with wave.open(str(folder / f"s{speaker}" / "one.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((sound * 32_000).astype("<i2").tobytes())
