from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sdkit.evaluation.data import Parts, parts_of
from sdkit.evaluation.downstream.bootstrap import auprc, auroc
from sdkit.evaluation.downstream.predictors import WindowRegressor
from sdkit.evaluation.downstream.tasks import BASELINES, METRICS, POOLED, RUNNERS, Figures, Result, Task, tasks_of
from sdkit.methods.graphs import verbs as torch_verbs
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import Factor, SequenceFile, SequenceMeta, SequenceWriter
from tests.notes import Notes
from tests.sdkit.evaluation.labelled import (
    COUNT,
    POSITIVE,
    SERIES,
    SPECTRUM,
    STEPS,
    Deaf,
    Told,
    hurry,
    images,
    series,
    spectra,
    verbs,
)
from tests.sdkit.training.files import write as write_file
from tests.tiny import IMAGE, sequences, tiny_model

ILL, SEASON, TARGETS = Task("ill", "detect", "ill"), Task("season", "classify", "season"), Task("targets", "regress")
SPEAKER = Task("speaker", "verify", "speaker")


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> SequenceFile:
    return SequenceFile(series(tmp_path_factory.mktemp("tasks") / "waves.h5"))


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> SequenceFile:
    return SequenceFile(spectra(tmp_path_factory.mktemp("tasks") / "voices.h5"))


def run(task: Task, backend: Told, file: SequenceFile) -> Result:
    return task.run(verbs(backend), file, parts_of(file), reporter=Quiet())


# What a file allows.


def test_series_are_detected_classified_and_predicted(waves: SequenceFile) -> None:
    tasks, skipped = tasks_of(waves, parts_of(waves))
    assert tasks == [ILL, SEASON, TARGETS]
    assert list(skipped) == ["ward"]
    assert "one value" in skipped["ward"]


def test_hidden_layers_are_as_wide_as_there_are_classes(tmp_path: Path) -> None:
    labels = np.arange(60).reshape(-1, 1) % 12
    factors = (Factor("month", "static", tuple(map(str, range(12)))),)
    with SequenceWriter(tmp_path / "a.h5", SequenceMeta(SERIES, "", factors)) as writer:
        writer.write(sequences(60, 2, SERIES), labels=labels)
        writer.splits({"train": range(36), "val": range(36, 40), "test": range(40, 60)})
    file = SequenceFile(tmp_path / "a.h5")
    assert tasks_of(file, parts_of(file))[0] == [Task("month", "classify", "month", 12)]


@pytest.mark.parametrize(("part", "name"), [(1, "validation"), (2, "test")])
def test_a_rare_event_must_occur_in_every_part(waves: SequenceFile, part: int, name: str) -> None:
    parts = list(parts_of(waves))
    labels = waves.labels()
    assert labels is not None
    parts[part] = parts[part][labels[parts[part], 0] == 0]
    tasks, skipped = tasks_of(waves, Parts(*parts))
    assert ILL not in tasks
    assert skipped["ill"] == f"the {name} split has one value only"


def test_speakers_of_spectra_are_verified(voices: SequenceFile) -> None:
    assert tasks_of(voices, parts_of(voices)) == ([SPEAKER], {})


def test_one_recording_a_speaker_cannot_be_verified(tmp_path: Path) -> None:
    file = SequenceFile(spectra(tmp_path / "once.h5", recordings=1))
    tasks, skipped = tasks_of(file, parts_of(file))
    assert tasks == []
    assert "1 pairs of recordings, 0 of one speaker" in skipped["speaker"]


def test_images_are_left_to_the_judge(tmp_path: Path) -> None:
    file = SequenceFile(images(tmp_path / "squares.h5"))
    assert tasks_of(file, parts_of(file)) == ([], {})
    with SequenceWriter(tmp_path / "b.h5", SequenceMeta(IMAGE)) as writer:
        writer.write(sequences(6), targets=np.zeros((6, 5, 1), np.float32))
        writer.splits({"train": range(2), "val": range(2, 4), "test": range(4, 6)})
    file = SequenceFile(tmp_path / "b.h5")
    assert tasks_of(file, parts_of(file)) == ([], {"targets": "targets are predicted of series and spectra"})


def test_targets_of_spectra_are_predicted(tmp_path: Path) -> None:
    with SequenceWriter(tmp_path / "c.h5", SequenceMeta(SPECTRUM)) as writer:
        writer.write(sequences(6, 5, SPECTRUM), targets=np.zeros((6, 5, 1), np.float32))
        writer.splits({"train": range(2), "val": range(2, 4), "test": range(4, 6)})
    file = SequenceFile(tmp_path / "c.h5")
    assert tasks_of(file, parts_of(file))[0] == [TARGETS]
    assert set(TARGETS.baselines(file, parts_of(file))) == {"constant (training median)", "raw window means, ridge"}


def test_no_labels_no_tasks(tmp_path: Path) -> None:
    splits = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
    file = SequenceFile(write_file(tmp_path / "a.h5", sequences(10), splits=splits))
    assert tasks_of(file, parts_of(file)) == ([], {})


# What is told from codes that hold it, and from codes that do not.


def test_an_event_is_found_where_codes_tell_it(waves: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(ILL, Told(), waves)
    assert min(told.figures[name] for name in METRICS["detect"]) > 0.95
    interval = told.intervals["auroc"]
    assert interval.value == pytest.approx(told.figures["auroc"])
    assert interval.low <= interval.value <= interval.high
    hurry(monkeypatch)
    deaf = run(ILL, Deaf(), waves)
    for name, value in deaf.figures.items():
        chance = POSITIVE if name.startswith("auprc") else 0.5
        assert abs(value - chance) < 0.33, name
    assert deaf.intervals["auroc"].low < 0.5
    assert deaf.intervals["auprc"].value == pytest.approx(deaf.figures["auprc"])


def test_a_class_is_told_where_the_static_code_tells_it(waves: SequenceFile) -> None:
    told = run(SEASON, Told(), waves)
    for name in METRICS["classify"]:
        if name == "accuracy_dynamic":  # the dynamic codes hold the target, and nothing of the season
            assert told.figures[name] < 0.65
        else:
            assert told.figures[name] > 0.9, name
    assert told.intervals["accuracy"].value == pytest.approx(told.figures["accuracy"])
    deaf = run(SEASON, Deaf(), waves)
    assert max(deaf.figures.values()) < 0.67


def test_near_copies_are_drawn_together(waves: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    alone, together = (run(replace(TARGETS, cluster=name), Deaf(), waves) for name in ("", "season"))
    assert together.figures == alone.figures
    one, other = (found.intervals["mae"] for found in (alone, together))
    assert one.value == other.value
    season = waves.labels()[parts_of(waves).test, 1]  # type: ignore[index]
    assert len(np.unique(season)) == 3
    # Means of three seasons, each drawn as a whole, so that an end of the interval is the mean of one season.
    assert (other.low, other.high) != (one.low, one.high)


def test_without_a_static_code_a_class_is_told_from_the_mean_of_the_dynamic_codes(waves: SequenceFile) -> None:
    class Leaking(Told):
        dynamic_row = 0

    model = verbs(Leaking())
    model.abilities = Abilities("one", {"swap": "its method has no static code"})
    found = SEASON.run(model, waves, parts_of(waves), reporter=Quiet())
    assert found.notes == (POOLED,)
    assert min(found.figures.values()) > 0.8
    assert found.figures["accuracy_logistic"] == found.figures["accuracy_dynamic"]  # of the same vectors
    assert run(SEASON, Leaking(), waves).notes == ()
    # What the static code holds is not read: that of a model without one is a constant.
    model = verbs(Told())
    model.abilities = Abilities("one", {"swap": "its method has no static code"})
    assert SEASON.run(model, waves, parts_of(waves), reporter=Quiet()).figures["accuracy"] < 0.67


@pytest.mark.parametrize(
    ("refused", "rows"),
    [("swap", {"ill", "season", "targets"}), ("encode", set()), ("generate", {"ill", "season", "targets", "speaker"})],
)
def test_tasks_of_a_table_that_a_model_can_do(refused: str, rows: set[str]) -> None:
    abilities = Abilities("one", {refused: "it is what it is"})
    for task in (ILL, SEASON, TARGETS, SPEAKER):
        assert (task.unmet(abilities, 5) == "") == (task.name in rows), task.name


def test_a_leak_into_the_dynamic_codes_is_seen(waves: SequenceFile) -> None:
    class Leaking(Told):
        dynamic_row = 0

    assert run(SEASON, Leaking(), waves).figures["accuracy_dynamic"] > 0.95


def test_a_target_is_predicted_where_dynamic_codes_tell_it(
    waves: SequenceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sdkit.evaluation.downstream.tasks.WindowRegressor", partial(WindowRegressor, epochs=40, learning_rate=5e-3)
    )
    told, deaf = (run(TARGETS, backend, waves) for backend in (Told(), Deaf()))
    constant = TARGETS.baselines(waves, parts_of(waves))["constant (training median)"]["mae"]
    assert constant == pytest.approx(2, abs=0.3)  # uniform over 8
    for name in ("mae", "mae_sampled", "mae_standard"):
        assert told.figures[name] < 0.25 * constant, name
        assert deaf.figures[name] > 0.85 * constant, name
    assert told.figures["mae_shuffled"] > 0.8 * constant
    assert told.intervals["mae"].value == pytest.approx(told.figures["mae"])


def test_speakers_are_verified_by_their_codes(voices: SequenceFile) -> None:
    # A linear model of spectra gives codes in which a speaker's bin shows.
    found = SPEAKER.run(
        torch_verbs(tiny_model(element=SPECTRUM, encoder_widths=(8, 8), decoder_widths=(8, 8))),
        voices,
        parts_of(voices),
        reporter=Quiet(),
    )
    assert found.figures["static_eer"] < 0.3
    assert found.figures["gap"] == pytest.approx(found.figures["dynamic_eer"] - found.figures["static_eer"])
    assert found.intervals == {}  # of two speakers, none can be left out
    trials = found.details["trials"]
    assert (trials.recordings, trials.speakers, trials.same, trials.different) == (4, 2, 2, 4)


# Figures and their names.


@pytest.mark.parametrize("kind", METRICS)
def test_every_figure_has_a_title_and_every_title_a_figure(
    kind: str, waves: SequenceFile, voices: SequenceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    task = {task.kind: task for task in (ILL, SEASON, TARGETS, SPEAKER)}[kind]  # type: ignore[index]
    assert set(METRICS) == set(RUNNERS) == set(BASELINES)
    assert list(task.metrics) == list(METRICS[task.kind])
    if kind == "verify":
        model = torch_verbs(tiny_model(element=SPECTRUM, encoder_widths=(8, 8), decoder_widths=(8, 8)))
        found = task.run(model, voices, parts_of(voices), reporter=Quiet())
    else:
        found = run(task, Told(), waves)
    assert set(found.figures) == set(task.metrics)
    assert set(found.intervals) <= set(task.metrics)
    assert all(type(value) is float for value in found.figures.values())


def rows(task: Task, file: SequenceFile) -> dict[str, Figures]:
    return task.baselines(file, parts_of(file), reporter=Quiet())


def test_baselines_of_an_event(waves: SequenceFile) -> None:
    found = rows(ILL, waves)
    assert found["constant"] == {"auprc": pytest.approx(POSITIVE), "auroc": 0.5}
    assert list(found)[1:] == [
        "raw summaries, logistic regression",
        "raw summaries, random forest",
        "raw first window, logistic regression",
        "raw steps, LSTM",
    ]
    for name in list(found)[1:]:
        assert found[name]["auroc"] > 0.9, name  # the labels stand in the raw values


def test_baselines_of_a_class(waves: SequenceFile) -> None:
    found = rows(SEASON, waves)
    labels = waves.labels()
    assert labels is not None
    test = labels[parts_of(waves).test, 1]
    assert found["majority"]["accuracy"] == np.mean(test == np.bincount(labels[parts_of(waves).train, 1]).argmax())
    assert next(iter(found)) == "majority"
    assert len(found) == 5
    assert min(row["accuracy"] for row in found.values()) == found["majority"]["accuracy"]
    assert found["raw first window, logistic regression"]["accuracy"] > 0.7


def test_baselines_of_a_target(waves: SequenceFile) -> None:
    found = rows(TARGETS, waves)
    assert list(found) == ["constant (training median)", "raw window means, ridge"]
    # Each window's mean of the first feature is the label, the target and two noises over 4.
    assert found["raw window means, ridge"]["mae"] < found["constant (training median)"]["mae"]


def test_baselines_of_a_speaker(voices: SequenceFile) -> None:
    (row,) = rows(SPEAKER, voices).values()
    assert set(row) == set(METRICS["verify"])
    assert row["static_eer"] == row["dynamic_eer"] < 0.05  # a speaker has a bin of their own
    assert row["gap"] == 0


def test_baselines_tell_of_themselves(waves: SequenceFile) -> None:
    class Stages(Notes):
        def start(self, what: str, total: int) -> None:
            self.lines.append(what)

    told = Stages()
    TARGETS.baselines(waves, parts_of(waves), reporter=told)
    assert told.lines == ["baselines of targets"]


def test_a_task_is_decided_by_its_seed(waves: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    model, parts = verbs(Deaf()), parts_of(waves)
    first, again, other = (ILL.run(model, waves, parts, seed=seed, reporter=Quiet()).figures for seed in (1, 1, 2))
    assert first == again != other


def test_intervals_are_of_the_fixed_epoch(waves: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    found = run(ILL, Deaf(), waves)
    assert found.intervals["auroc"].value == pytest.approx(found.figures["auroc"])
    assert found.intervals["auprc"].value == pytest.approx(found.figures["auprc"])
    assert {auroc.__name__, auprc.__name__} == set(found.intervals)


def test_an_unknown_factor_is_one_line(waves: SequenceFile) -> None:
    with pytest.raises(ConfigError, match="has no factor 'mood'; it has: ill, season, ward, trend"):
        run(Task("mood", "detect", "mood"), Told(), waves)


def test_the_made_up_series_are_what_they_claim(waves: SequenceFile) -> None:
    labels, targets = waves.labels(), waves.targets()
    assert labels is not None
    assert targets is not None
    for index in parts_of(waves):
        assert labels[index, 0].mean() == pytest.approx(POSITIVE)
        assert len(np.unique(labels[index, 1])) == 3
    assert targets.shape == (COUNT, STEPS, 1)
