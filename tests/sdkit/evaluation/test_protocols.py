"""Methods unlike the paper's: what can be measured of them is, and `skipped` says why the rest is not."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sdkit.evaluation.base import Case, EvaluationProtocol, Line, Needs
from sdkit.evaluation.downstream.tasks import POOLED
from sdkit.evaluation.evaluate import evaluate, measure
from sdkit.evaluation.judge.training import find_judge
from sdkit.evaluation.protocols import PROTOCOLS
from sdkit.evaluation.subject import Subject
from sdkit.evaluation.summary import summary
from sdkit.methods.base import Method
from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.storage.sequences import SequenceFile
from tests.export.runs import write_run
from tests.sdkit.evaluation.labelled import SERIES, hurry, images, series
from tests.sdkit.evaluation.other_methods import NO_ENCODER, NO_STATIC, Dreamer, Fixed, OneCode, model_of, register
from tests.tiny import IMAGE

SWAP = f"this model cannot swap: {NO_STATIC}"
BLIND = f"this model cannot encode: {NO_ENCODER}"
Measure = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with series and images, where heads and judges take a moment."""
    folder = tmp_path_factory.mktemp("protocols")
    series(folder / "waves.h5")
    images(folder / "squares.h5")
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        register(patch)
        patch.setattr("sdkit.evaluation.judge.scores.find_judge", partial(find_judge, epochs=1))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def measured(folder: Path) -> Measure:
    """Return a function that measures a method on series or images."""

    def make(method: type[Method], element: Element, steps: int = 5) -> dict[str, Any]:
        model = model_of(method, element, steps)
        subject = Subject(Path("model"), verbs(model), model, "torch", "", 0.05, 0, "")
        file = SequenceFile("squares.h5" if element.traits.pictorial else "waves.h5")
        return measure(subject, file, repeats=2, device="cpu")

    return make


def test_every_protocol_has_a_name_and_a_place_of_its_own() -> None:
    assert len({protocol.name for protocol in PROTOCOLS}) == len(PROTOCOLS)
    assert len({(protocol.section, protocol.part) for protocol in PROTOCOLS}) == len(PROTOCOLS)


def test_without_a_static_code(measured: Measure) -> None:
    found = measured(OneCode, SERIES)
    assert {name: reason for name, reason in found["skipped"].items() if reason == SWAP} == dict.fromkeys(
        (
            "consistency of swaps",
            "consistency of the static code",
            "consistency under shuffled steps",
            "leakage",
        ),
        SWAP,
    )
    assert set(found["skipped"]) - {"judge", "Frechet distance", "task ward"} == {
        "consistency of swaps", "consistency of the static code", "consistency under shuffled steps", "leakage",
    }  # fmt: skip
    assert "consistency" not in found
    assert set(found["codes"]) == {"sequences", "active_dynamic", "dynamic_size"}
    assert set(found["likelihood"]) == {"sequences", "values", "nll", "dynamic_divergence", "terms"}
    assert list(found["tasks"]) == ["ill", "season", "targets"]
    assert found["tasks"]["season"]["notes"] == [POOLED]
    assert max(found["dci"]["static_share"].values()) == 0
    assert {line.section for line in summary(found)} == {
        "likelihood",
        "codes",
        "DCI",
        "task ill",
        "task season",
        "task targets",
    }


def test_without_a_static_code_a_judge_sees_what_is_kept_of_the_other(measured: Measure) -> None:
    found = measured(OneCode, IMAGE)
    reason = f"this model cannot resample_static: {NO_STATIC}"
    assert found["skipped"]["judge, dynamic_kept"] == reason
    assert found["skipped"]["judge, swaps"] == SWAP
    assert set(found["judge"]) == {"accuracy_on_real", "weights", "real", "reconstruction", "static_kept", "msd"}
    assert found["judge"]["msd"] == {}
    assert any(line.figure.startswith("s kept, d drawn") for line in summary(found))
    assert found["skipped"]["Frechet distance, swap"] == SWAP
    assert set(found["frechet"]) == {"sequences", "features", "floor", "reconstruction", "generation"}


def test_a_prior_of_few_steps_is_not_drawn_from(measured: Measure) -> None:
    skipped = measured(OneCode, IMAGE, steps=3)["skipped"]
    assert "the prior of this model draws at most 3 steps, not 4" in skipped["judge, static_kept"]


def test_with_deterministic_codes_all_but_the_divergences_is_there(measured: Measure) -> None:
    found = measured(Fixed, IMAGE)
    assert found["skipped"] == {}
    assert set(found["codes"]) == {"sequences", "active_static", "static_size", "active_dynamic", "dynamic_size"}
    assert set(found["likelihood"]) == {"sequences", "values", "nll", "terms"}
    assert set(found["consistency"]) == {"swaps", "static", "order"}
    assert found["judge"]["dynamic_kept"]["drawn_from"] == "static_prior"
    assert set(found["judge"]["msd"]) == {"intervention_two_factor_swap", "intervention_two_factor_sample"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert not [line for line in summary(found) if line.figure.startswith("KL")]


def test_without_an_encoder_nothing_is_measured_and_every_reason_told(measured: Measure) -> None:
    found = measured(Dreamer, SERIES)
    assert set(found) == {"sdkit", "subject", "data", "settings", "skipped"}
    assert set(found["skipped"]) == {protocol.name for protocol in PROTOCOLS}
    assert found["skipped"]["codes"] == BLIND
    assert found["skipped"]["likelihood"] == "the objective of its method (dreamer) has no likelihood"
    assert summary(found) == []
    assert all("\n" not in reason for reason in found["skipped"].values())


class Length(EvaluationProtocol):
    """A new metric."""

    name = section = "length"
    needs = Needs(verbs=("encode",), factors=1)

    def run(self, case: Case) -> dict[str, int]:
        return {"steps": case.file.steps, "draws": case.repeats}

    def lines(self, found: Any) -> Iterator[Line]:
        yield Line(self.section, "steps", str(found["steps"]))


def test_a_new_metric_is_a_class_and_a_line(measured: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("evaluate", "summary"):
        monkeypatch.setattr(f"sdkit.evaluation.{module}.PROTOCOLS", (Length(),))
    found = measured(Fixed, SERIES)
    assert found["length"] == {"steps": 5, "draws": 2}
    assert summary(found) == [Line("length", "steps", "5")]
    blind = measured(Dreamer, SERIES)
    assert (blind["skipped"], summary(blind)) == ({"length": BLIND}, [])


@pytest.mark.parametrize(
    ("method", "drawn"),
    [
        (OneCode, ["codes-trend.png", "paths.png", "reconstruction.png", "generated.png"]),
        (Fixed, ["codes.png", "codes-ill.png", "reconstruction.png", "swap.png", "generated.png"]),
        (Dreamer, ["generated.png"]),
    ],
)
def test_a_run_is_evaluated_with_the_pictures_that_it_can_have(
    folder: Path, method: type[Method], drawn: list[str]
) -> None:
    run = write_run(folder / "runs" / method.name, model_of(method, SERIES, steps=4))
    found = evaluate(run.path, data="waves.h5", repeats=1, device="cpu")
    assert set(drawn) <= set(found.get("figures", []))
    if "swap.png" not in drawn:
        assert not {"swap.png", "codes.png", "codes-ill.png", "days-season.png"} & set(found.get("figures", []))
    assert "figures" not in found["skipped"]
    assert json.loads((run.path / "evaluation" / "evaluation.json").read_text("utf-8")) == found


def test_a_bundle_says_why_it_has_no_likelihood(folder: Path) -> None:
    model = model_of(Fixed, SERIES)
    subject = Subject(Path("bundle"), verbs(model), None, "onnx", "", 0.05, 0, "")
    skipped = measure(subject, SequenceFile("waves.h5"), repeats=1, device="cpu")["skipped"]
    assert skipped["likelihood"] == "a bundle holds no objective; evaluate the run that it was exported from"
