import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import pytest

from sdkit.evaluation import evaluate as module
from sdkit.evaluation.downstream.tasks import METRICS
from sdkit.evaluation.evaluate import evaluate, measure
from sdkit.evaluation.judge.training import find_judge
from sdkit.evaluation.subject import Subject, open_subject
from sdkit.runtime.bundles.bundle import Bundle, sha256
from sdkit.runtime.errors import ConfigError, DataError, MissingFileError, OutputExistsError, SdkitError
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.run import Run
from sdkit.training.train import train
from tests.export.runs import copy, lively_model, quick_export, write_run
from tests.sdkit.evaluation.labelled import SMALL, hurry, images, series, spectra, without
from tests.sdkit.training.files import write as write_file
from tests.tiny import sequences

pytestmark = pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")
ALWAYS = {"sdkit", "subject", "data", "settings", "skipped", "codes", "consistency", "tasks"}
BACKENDS = ("onnx", "torchscript")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in one folder, with heads and judges that take a moment."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        patch.setattr("sdkit.evaluation.judge.scores.find_judge", partial(find_judge, epochs=1))
        patch.chdir(folder)
        patch.delenv("SDKIT_RUN", raising=False)
        yield folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """Return a run of two epochs on series of several lengths."""
    data = series(folder / "waves.h5", lengths=True)
    found = train(data, epochs=2, static_size=3, dynamic_size=3, **SMALL)
    return Run(folder / found.path)


@pytest.fixture(scope="module")
def bundle(run: Run) -> Bundle:
    return quick_export(run, format="all")


@pytest.fixture(scope="module")
def pictures_run(folder: Path) -> Run:
    """Return a run of images, never trained."""
    return write_run(folder / "runs" / "squares", lively_model())


@pytest.fixture(scope="module")
def squares(folder: Path) -> SequenceFile:
    return SequenceFile(images(folder / "squares.h5"))


@pytest.fixture(scope="module")
def results(run: Run) -> dict[str, Any]:
    """Return what a run's evaluation says; nothing is drawn."""
    return evaluate(run.path, figures=False)


# What is written.


def test_the_file_is_what_is_returned(run: Run, results: dict[str, Any]) -> None:
    def refuse(token: str) -> None:
        pytest.fail(f"{token} is no JSON")

    file = run.path / "evaluation" / "evaluation.json"
    assert json.loads(file.read_text("utf-8"), parse_constant=refuse) == results
    assert [path.name for path in file.parent.iterdir()] == ["evaluation.json"]
    assert results["output"] == str(run.path / "evaluation")
    assert results["subject"] == {"path": str(run.path), "backend": "torch", "weights": sha256(run.weights())}
    assert (results["data"]["train"], results["data"]["test"], results["data"]["name"]) == (72, 24, "waves")


def test_sections_of_labelled_series(results: dict[str, Any]) -> None:
    assert set(results) == ALWAYS | {"output", "likelihood", "leakage", "dci"}
    assert {name: task["kind"] for name, task in results["tasks"].items()} == {
        "ill": "detect",
        "season": "classify",
        "targets": "regress",
    }
    for task in results["tasks"].values():
        assert set(task["figures"]) == set(METRICS[task["kind"]])
        assert len(task["baselines"]) >= 2
        assert {"value", "low", "high"} <= set(next(iter(task["intervals"].values())))
    assert set(results["skipped"]) == {"judge", "Frechet distance", "task ward", "probe of ward"}
    assert {row["factor"] for row in results["leakage"]} == {"ill", "season", "trend"}
    assert results["dci"]["factors"] == ["ill", "season", "trend"]
    assert results["likelihood"]["sequences"] == 24
    assert results["codes"]["static_size"] == 3


def test_sections_of_spectra(folder: Path) -> None:
    data = spectra(folder / "voices.h5")
    found = train(data, epochs=1, static_size=3, dynamic_size=3, **SMALL)
    told = evaluate(found.path, figures=False)
    assert list(told["tasks"]) == ["speaker"]
    assert set(told["tasks"]["speaker"]["figures"]) == set(METRICS["verify"])
    trials = told["tasks"]["speaker"]["trials"]
    assert (trials["same"], trials["different"], len(trials["sha256"])) == (2, 4, 64)
    assert told["skipped"]["dci"] == "fewer than two factors can be learnt"  # nobody of the test split is in training


def test_unlabelled_data_have_codes_consistency_and_likelihood(folder: Path, run: Run) -> None:
    data = series(folder / "plain.h5", labelled=False, targets=False)
    told = evaluate(run.path, data=data, output=folder / "plain", figures=False)
    assert set(told) == ALWAYS | {"output", "likelihood"}
    assert told["tasks"] == {}
    assert told["skipped"] == {
        "judge": "judges are trained for labelled images",
        "Frechet distance": "judges are trained for labelled images",
        "leakage": "the file has no labelled factor; at least 1 is needed",
        "dci": "the file has no labelled factor; at least 1 is needed",
    }


def test_the_newest_run_is_taken_and_its_training_data(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(subject: Subject, file: SequenceFile, **_: object) -> dict[str, Any]:
        return {"subject": str(subject.path), "data": str(file.path), "seed": subject.seed}

    monkeypatch.setattr(module, "measure", told)
    (run.path / "config.json").touch()
    found = evaluate(output=folder / "newest", figures=False)
    assert found == {
        "output": str(folder / "newest"), "subject": "runs/waves", "data": str(folder / "waves.h5"), "seed": 0,
    }  # fmt: skip


# Metric parity: the graphs of a run reach what the run reaches.


@pytest.mark.parametrize("backend", BACKENDS)
def test_graphs_of_series_reach_what_the_run_reaches(bundle: Bundle, results: dict[str, Any], backend: str) -> None:
    told = evaluate(bundle.path, backend=backend, figures=False)  # type: ignore[arg-type]
    assert Path(told["output"]).name == f"evaluation-{backend}"
    assert told["subject"]["backend"] == backend
    assert told["subject"]["weights"] == results["subject"]["weights"]
    # Importances are of trees, whose thresholds fall between values that differ in their last bits.
    apart = ("output", "subject", "likelihood", "self_swap", "importances")
    assert "likelihood" not in told
    assert without(told, *apart) == without(results, *apart)


@pytest.fixture(scope="module")
def of_images(pictures_run: Run, squares: SequenceFile) -> dict[str, Any]:
    return measure(open_subject(pictures_run.path), squares, repeats=2)


def test_sections_of_labelled_images(of_images: dict[str, Any]) -> None:
    assert set(of_images) == ALWAYS | {"likelihood", "judge", "frechet", "leakage", "dci"}
    assert of_images["skipped"] == {}
    assert set(of_images["judge"]["accuracy_on_real"]) == {"colour", "motion"}
    assert of_images["judge"]["dynamic_kept"]["repeats"] == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_graphs_of_images_reach_what_the_run_reaches(
    pictures_run: Run, squares: SequenceFile, of_images: dict[str, Any], backend: str
) -> None:
    if not pictures_run.bundle.exists():
        quick_export(pictures_run, format="all")
    told = measure(open_subject(pictures_run.bundle, backend=backend), squares, repeats=2)  # type: ignore[arg-type]
    # Swaps are rounded to grey levels before they are encoded again, and a level may fall to either side.
    apart = ("subject", "likelihood", "swaps", "self_swap")
    assert without(told, *apart, "swap_truth", "consistency") == without(of_images, *apart, "swap_truth", "consistency")
    for part in ("reconstruction", "dynamic_kept", "static_kept"):
        for factor, scores in told["judge"][part]["factors"].items():
            assert scores["confusion"] == of_images["judge"][part]["factors"][factor]["confusion"]
    for factor, swaps in told["judge"]["swaps"]["factors"].items():
        assert swaps["accuracy"] == pytest.approx(of_images["judge"]["swaps"]["factors"][factor]["accuracy"], abs=5e-4)


def test_a_bundle_away_from_its_run_needs_data(folder: Path, bundle: Bundle, results: dict[str, Any]) -> None:
    away = copy(bundle, folder / "elsewhere" / "model")
    with pytest.raises(MissingFileError, match=r"model are not known here; give --data FILE\.h5"):
        evaluate(away.path)
    told = evaluate(away.path, data=folder / "waves.h5", figures=False)
    assert told["output"] == str(folder / "elsewhere" / "evaluation-onnx")
    assert without(told["tasks"]) == without(results["tasks"])


# What is refused, and what is left behind.


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_results_are_replaced_only_by_force(run: Run, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure", lambda *_, **__: {"new": True})
    before = snapshot(run.path)
    with pytest.raises(OutputExistsError, match=r"evaluation exists already; .* force=True"):
        evaluate(run.path, figures=False)
    assert snapshot(run.path) == before
    file = run.path / "evaluation" / "evaluation.json"
    (file.parent / "old.png").touch()
    kept = file.read_bytes()
    evaluate(run.path, figures=False, force=True)
    assert [path.name for path in file.parent.iterdir()] == ["evaluation.json"]
    assert json.loads(file.read_text("utf-8"))["new"]
    file.write_bytes(kept)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_evaluation_is_never_replaced(run: Run, tmp_path: Path, kind: str) -> None:
    mine = tmp_path / "mine"
    if kind == "folder":
        mine.mkdir()
        (mine / "letter.txt").write_text("dear")
    else:
        mine.write_text("dear")
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match="mine exists and holds no evaluation; it is not replaced"):
        evaluate(run.path, output=mine, force=True)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("step", ["likelihood.likelihood", "codes.encoded.code", "downstream.tasks.tasks_of", "draw"])
def test_a_failure_leaves_nothing_behind(run: Run, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if step == "draw":
        monkeypatch.setattr(module, "measure", lambda *_, **__: {"skipped": {}})
        monkeypatch.setattr("sdkit.evaluation.pictures.draw", fail)
    else:
        monkeypatch.setattr(f"sdkit.evaluation.{step}", fail)
    before = snapshot(run.path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run.path, output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert snapshot(run.path) == before


def test_force_keeps_what_was_there_when_it_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "evaluation.json").write_text("{}")
    monkeypatch.setattr(module, "measure", lambda *_, **__: {"figure": float("nan")})  # which JSON cannot hold
    with pytest.raises(ValueError, match="not JSON compliant"):
        evaluate(run.path, output=tmp_path / "out", figures=False, force=True)
    assert snapshot(tmp_path) == {str(tmp_path / "out" / "evaluation.json"): b"{}"}


def _gone(run: Run, folder: Path) -> dict[str, Any]:
    moved = shutil.copytree(run.path, folder / "moved", ignore=shutil.ignore_patterns("evaluation*", "bundle"))
    config = json.loads((moved / "config.json").read_text("utf-8"))
    config["data"]["path"] = "/gone.h5"
    (moved / "config.json").write_text(json.dumps(config), "utf-8")
    return {"source": moved}


def _no_test(run: Run, folder: Path) -> dict[str, Any]:
    return {"source": run.path, "data": series(folder / "two.h5", splits=("train", "val"))}


def _images(run: Run, folder: Path) -> dict[str, Any]:
    return {"source": run.path, "data": images(folder / "squares.h5")}


@pytest.mark.parametrize(
    ("error", "says", "options"),
    [
        (MissingFileError, "are not known here (/gone.h5 is gone); give --data FILE.h5", _gone),
        (ConfigError, "two.h5 has no test split", _no_test),
        (DataError, "squares.h5 holds image (3, 16, 16) uint8; the model takes series (4, 2) float32", _images),
        (MissingFileError, "nowhere is neither a run nor a bundle", lambda run, folder: {"source": folder / "nowhere"}),
        (MissingFileError, "no.h5 does not exist", lambda run, folder: {"source": run.path, "data": folder / "no.h5"}),
    ],
    ids=["data are gone", "no test split", "another element", "no run", "no data"],
)
def test_a_mistake_is_one_line(
    run: Run, tmp_path: Path, error: type[SdkitError], says: str, options: Callable[[Run, Path], dict[str, Any]]
) -> None:
    with pytest.raises(error) as caught:
        evaluate(**options(run, tmp_path), output=tmp_path / "out", figures=False)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_pair_of_one_length_is_one_line(run: Run, tmp_path: Path) -> None:
    data = series(tmp_path / "waves.h5", lengths=True)
    with h5py.File(data, "a") as file:
        del file["test_indices"]
        file["test_indices"] = [4, 9]  # of four and of three windows
    with pytest.raises(DataError, match="no two sequences of split 'test' have one length"):
        evaluate(run.path, data=data, output=tmp_path / "out", figures=False)


def test_small_data_without_validation_split(folder: Path, run: Run, tmp_path: Path) -> None:
    x = sequences(8, 4, SequenceFile(folder / "waves.h5").element)
    data = write_file(tmp_path / "few.h5", x, SequenceFile(folder / "waves.h5").element, splits={"test": range(4)})
    with pytest.raises(ConfigError, match=r"few\.h5 has no validation split, and val_fraction = 0\.05"):
        evaluate(run.path, data=data, output=tmp_path / "out", figures=False)
