import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sdkit.experiments import compare as module
from sdkit.experiments.compare import compare
from sdkit.experiments.comparison.columns import Figure
from sdkit.experiments.comparison.entries import Entry, Folder, Row, Terms, data_digest, parse
from sdkit.experiments.comparison.report import Comparison, as_markdown, differences, draw, write
from sdkit.experiments.runs import ensure_run
from sdkit.figures.comparison import Point, comparison_figure
from sdkit.runtime.errors import ConfigError, DivergenceError, FileFormatError
from sdkit.runtime.storage.sequences import SequenceFile, SequenceMeta, SequenceWriter
from sdkit.training.run import Run
from tests.notes import Notes
from tests.sdkit.evaluation.labelled import SERIES, SMALL, hurry, series

pytestmark = pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")

GIVEN: dict[str, Any] = {**SMALL, "static_size": 3, "dynamic_size": 3}
METHODS = "dbse:paper,vae"


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison, Notes]:
    """Return a folder with waves.h5 and a finished comparison `out` of it, two methods with two seeds."""
    folder, notes = tmp_path_factory.mktemp("compare"), Notes()
    series(folder / "waves.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = compare("waves.h5", methods=METHODS, steps=3, seeds=2, output="out", reporter=notes, **GIVEN)
    return folder, found, notes


@pytest.fixture
def copied(made: tuple[Path, Comparison, Notes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, the working folder of the test."""
    shutil.copytree(made[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_every_method_has_a_row_for_each_seed_under_equal_terms(made: tuple[Path, Comparison, Notes]) -> None:
    folder, found, notes = made
    assert [(row.entry, row.seed) for row in found.rows] == [
        ("dbse-paper", 0), ("vae", 0), ("dbse-paper", 1), ("vae", 1),
    ]  # fmt: skip
    assert {(row.steps, row.epochs, row.train["batch_size"]) for row in found.rows} == {(3, 1, 24)}
    assert {row.settings["encoder_widths"] for row in found.rows} == {(8, 8)}
    assert all(row.train["seed"] == row.seed for row in found.rows)
    assert found.reference == "dbse-paper"
    assert set(found.costs) == {"dbse-paper", "vae"}
    assert min(found.costs.values()) > 0
    assert not list((folder / "runs").glob("waves-*"))  # runs of finished rows are removed
    assert any("minutes left" in line for line in notes.lines)


def test_figures_stand_beside_what_is_reached_without_a_model(made: tuple[Path, Comparison, Notes]) -> None:
    _, found, _ = made
    row = found.rows[0]
    figure = row.figures["ill: AUPRC"]
    assert (figure.better, figure.main) == ("up", True)
    assert figure.beside == pytest.approx(1 / 3)
    assert row.figures["leakage into d"].better == "down"
    assert row.figures["season from d, linear"].better == "down"
    assert row.figures["season from s, linear"].better == "up"
    assert row.figures["KL of s"].better == "none"
    # A method without a static code has no leakage, and the table says why.
    assert "leakage into d" not in found.rows[1].figures
    assert "its method has no static code (`vae`)" in as_markdown(found)


def test_files_say_the_same(made: tuple[Path, Comparison, Notes]) -> None:
    folder, found, _ = made
    text = json.loads((folder / "out" / "comparison.json").read_text())
    assert [row["entry"] for row in text["rows"]] == [row.entry for row in found.rows]
    assert text["terms"]["steps"] == 3
    shown = (folder / "out" / "comparison.md").read_text()
    assert shown == as_markdown(found)
    assert "--methods dbse:paper,vae --steps 3 --seeds 2" in shown
    assert "| `vae` |" in shown
    assert (folder / "out" / "comparison.png").is_file()
    assert (folder / "out" / "swaps.png").is_file()


def test_a_finished_comparison_is_not_made_again_and_grows(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def note(file: SequenceFile, row: str, **rest: Any) -> Run:
        called.append(row)
        return ensure_run(file, row, **rest)

    monkeypatch.setattr(module, "ensure_run", note)
    again = compare("waves.h5", methods=METHODS, steps=3, seeds=2, output="out", **GIVEN)
    assert called == []
    assert len(again.rows) == 4
    more = compare("waves.h5", methods=f"{METHODS},gpvae", steps=3, seeds=1, output="out", keep_runs=True, **GIVEN)
    assert called == ["gpvae"]
    assert [row.entry for row in more.rows] == ["dbse-paper", "vae", "gpvae"]
    assert len(list((copied / "runs").glob("waves-gpvae-*"))) == 1


def test_exported_graphs_have_the_figures_of_their_models(copied: Path) -> None:
    asked: dict[str, Any] = {"methods": "vae", "steps": 3, "output": "out", **GIVEN}
    folder = Folder(Path("out"), Terms(**json.loads(Path("out/terms.json").read_text())))
    before = folder.row("vae", 0)
    assert before is not None
    assert not before.onnx
    found = compare("waves.h5", seeds=2, onnx=True, **asked)
    first, second = found.rows
    # Made again for the sake of its graphs, to the same figures; other seeds are not exported.
    assert first.figures == before.figures
    assert not second.onnx
    shared = set(first.onnx) & set(first.figures)
    assert {"ill: AUROC", "targets: MAE"} <= shared
    assert [first.onnx[name] for name in shared] == pytest.approx(
        [first.figures[name].value for name in shared], abs=2e-3
    )
    assert "## On ONNX graphs" in as_markdown(found)
    again = compare("waves.h5", seeds=2, onnx=True, **asked)
    assert [(row.seconds, row.onnx) for row in again.rows] == [(row.seconds, row.onnx) for row in found.rows]


def test_an_interrupted_comparison_keeps_its_rows(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (copied / "out" / "rows").glob("*-s1.json"):
        path.unlink()

    def interrupt(file: SequenceFile, row: str, **rest: Any) -> Run:
        if row == "vae":
            raise KeyboardInterrupt
        return ensure_run(file, row, **rest)

    monkeypatch.setattr(module, "ensure_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compare("waves.h5", methods=METHODS, steps=3, seeds=2, output="out", **GIVEN)
    assert sorted(path.stem for path in (copied / "out" / "rows").iterdir()) == [
        "dbse-paper-s0",
        "dbse-paper-s1",
        "vae-s0",
    ]
    text = json.loads((copied / "out" / "comparison.json").read_text())
    assert len(text["rows"]) == 3


def test_other_terms_are_refused(copied: Path) -> None:
    with pytest.raises(ConfigError, match=r"out holds a comparison with steps 3, not 4; choose another --output"):
        compare("waves.h5", methods=METHODS, steps=4, seeds=1, output="out", **GIVEN)
    (copied / "out" / "rows" / "vae-s0.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"vae-s0\.json cannot be read .*; remove it"):
        compare("waves.h5", methods=METHODS, steps=3, seeds=1, output="out", **GIVEN)


def test_a_model_that_diverges_has_a_row_that_says_so(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any, **__: Any) -> Any:
        raise DivergenceError("the loss became nan in epoch 1; lower learning_rate")

    monkeypatch.setattr(module, "ensure_run", diverge)
    found = compare("waves.h5", methods="vae", steps=3, seeds=1, output="other", **GIVEN)
    assert found.rows[0].failed == "the loss became nan in epoch 1; lower learning_rate"
    assert "`vae`, seed 0: no model, the loss became nan" in as_markdown(found)


def test_a_search_is_made_once_for_each_method(copied: Path) -> None:
    pytest.importorskip("optuna")
    options: dict[str, Any] = {**GIVEN, "methods": "vae,mocogan", "steps": 5, "trials": 2, "output": "tuned"}
    found = compare("waves.h5", seeds=2, **options)
    assert len(found.tuned["vae"].trials) == 2
    assert set(found.tuned["vae"].settings) == {"beta", "learning_rate"}
    assert found.rows[0].settings["beta"] == found.tuned["vae"].settings["beta"] == found.rows[2].settings["beta"]
    assert "no term of kind" in found.tuned["mocogan"].reason
    assert "validation elbo" in as_markdown(found)
    assert not list((copied / "tuned" / "tuning").glob("*.db"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": "dvae"}, "unknown method 'dvae'"),
        ({"methods": "dsvae:half"}, "unknown variant 'half' of dsvae; there are: full, factorised"),
        ({"methods": "vae,vae"}, "vae is named twice"),
        ({"steps": 0}, "steps = 0; it must be at least 1"),
        ({"no_such": 1}, "unknown setting 'no_such': no method has it"),
    ],
)
def test_wrong_arguments_are_named(copied: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compare("waves.h5", **{"methods": "vae", "output": "wrong", **options})
    assert not (copied / "wrong").exists()


def test_all_are_all_methods() -> None:
    assert Entry("dbse") in parse(["all"])
    assert [entry.name for entry in parse(["dsvae:factorised", "vae"])] == ["dsvae-factorised", "vae"]
    assert len(parse(["all", "vae"])) == len(parse(["all"]))


def test_the_digest_is_of_data_and_not_of_their_storage(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((6, 4, *SERIES.shape), np.float32)
    digests = []
    for i, (values, compression) in enumerate(((x, "none"), (x, "gzip"), (x + 1, "none"))):
        with SequenceWriter(tmp_path / f"{i}.h5", SequenceMeta(SERIES, "x", ()), compression=compression) as writer:
            writer.write(values)
        digests.append(data_digest(SequenceFile(tmp_path / f"{i}.h5")))
    assert digests[0] == digests[1] != digests[2]


def invented(path: Path, values: dict[str, list[float]], better: Any = "up") -> Comparison:
    """Return a comparison of one figure with values by entry and seed."""
    blank: dict[str, Any] = {
        "variant": "", "steps": 10, "epochs": 1, "seconds": 1.0, "parameters": 10, "settings": {}, "weights": "",
        "train": {"learning_rate": 1e-3, "batch_size": 8}, "skipped": {},
    }  # fmt: skip
    rows = [
        Row(entry=name, method=name, seed=seed, figures={"q": Figure(value, better, 0.1, True)}, **blank)
        for name, found in values.items()
        for seed, value in enumerate(found)
    ]
    terms = Terms(data="d", digest="", steps=10, trials=0, objective="elbo")
    return Comparison(path, terms, rows, dict.fromkeys(values, 0.5), {})


VALUES = {"dbse": [0.5, 0.6, 0.55], "vae": [0.7, 0.81, 0.755], "skd": [0.2, 0.9, 0.6]}


def test_only_what_is_more_than_noise_is_called_better(tmp_path: Path) -> None:
    found = invented(tmp_path, VALUES)
    tests = {test.entry: test for test in differences(found, "q")}
    assert tests["vae"].counts
    assert not tests["skd"].counts
    assert tests["vae"].difference == pytest.approx(0.205)
    shown = as_markdown(found)
    assert "| `vae` | **0.755 ± 0.055** |" in shown
    assert "| `skd` | 0.567 ± 0.351 |" in shown
    worse = as_markdown(invented(tmp_path, VALUES, "down"))
    assert "| `vae` | *0.755 ± 0.055* |" in worse


def test_the_folder_keeps_what_it_is_given(tmp_path: Path) -> None:
    found = invented(tmp_path / "f", VALUES)
    folder = Folder(found.path, found.terms)
    folder.keep_row(found.rows[0])
    assert folder.row("dbse", 0) == found.rows[0]
    assert folder.row("dbse", 1) is None
    write(found, folder)
    assert draw(found) == found.path / "comparison.png"
    assert msgspec.json.decode((tmp_path / "f" / "comparison.json").read_bytes())["reference"] == "dbse"


def test_the_figure_shows_every_method(tmp_path: Path) -> None:
    points = [Point("a", [0.5, 0.6], [0.1, 0.2], 1.0), Point("b", [0.7], [], 3.0)]
    figure = comparison_figure(points, quality="right", leak="leaked", reference="a", guess=0.1, note="made up")
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["a"]
    assert [text.get_text() for text in right.texts] == ["a", "b"]
    (said,) = [text for text in [figure.get_supxlabel()] if text]
    assert "Without a value of leaked: b." in " ".join(said.split())
    assert len(comparison_figure(points[1:], quality="right", leak="", reference="b").axes) == 1
