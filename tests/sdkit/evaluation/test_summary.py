import copy
from typing import Any

import pytest

from sdkit.evaluation.downstream.tasks import METRICS
from sdkit.evaluation.summary import Line, summary

SPREAD = {"mean": 0.5, "std": 0.1, "values": [0.4, 0.6]}


def factor(kept: bool, accuracy: float) -> dict[str, Any]:
    return {
        "kept": kept, "chance": 0.25, "accuracy": {"mean": accuracy}, "agreement": {"mean": accuracy / 2},
        "inception_score": {"mean": 3.9},
        "entropy_given_x": {"mean": 0.01}, "entropy": {"mean": 1.375},
    }  # fmt: skip


RESULTS: dict[str, Any] = {
    "codes": {"active_static": 3, "static_size": 8, "active_dynamic": 2, "dynamic_size": 4, "static_divergence": 1.234},
    "likelihood": {"nll": 125.5, "dynamic_divergence": 5.678, "terms": {"fit": 100.0, "first": 25.5, "cost": 5.678}},
    "consistency": {
        "swaps": {"static": 0.125, "dynamic": None, "twice": 0.5},
        "static": {"intraclass_correlation": 0.75},
        "order": {"shuffled": 0.25},
    },
    "judge": {
        "accuracy_on_real": {"who": 1.0, "what": 0.975},
        "real": {"factors": {"what": factor(True, 1.0)}},
        "dynamic_kept": {
            "factors": {"who": factor(False, 0.3), "what": factor(True, 0.875)}, "drawn_from": "static_prior",
        },
        "static_kept": {"factors": {"who": factor(True, 0.9), "what": factor(False, 0.26)}, "drawn_from": "prior"},
        "swaps": {
            "factors": {
                "who": {"kind": "static", "accuracy": 0.8, "chance": 0.25, "leaked": 0.125, "differing": 30},
                "what": {"kind": "dynamic", "accuracy": 0.7, "chance": 0.5, "leaked": None, "differing": 0},
            },
            "joint": {
                "static": {"accuracy": 0.8, "chance": 0.25, "unread": 0.2},
                "dynamic": {"accuracy": 0.7, "chance": 0.5, "unread": 1.0},
                "all": {"accuracy": 0.6, "chance": 0.125, "unread": 1.0},
            },
        },
        "swap_truth": {
            "swap": 4.0, "reconstruction": 2.0, "copy": 9.0,
            "swap_by_step": [5.0, 3.0], "reconstruction_by_step": [2.5, 1.5], "copy_by_step": [8.0, 10.0],
        },
        "msd": {"intervention_two_factor_swap": {"score": {"mean": 0.875}}},
    },
    "frechet": {"sequences": 9, "features": 4, "floor": 0.5, "reconstruction": 1.25, "generation": 8.0},
    "leakage": [
        {
            "factor": "what", "kind": "dynamic", "reader": "linear",
            "leaked": {"accuracy": 0.3, "majority": 0.4, "uniform": 0.25}, "intended": {"accuracy": 0.95},
        },
    ],
    "dci": {"disentanglement": 0.5, "completeness": 0.25, "informativeness": 0.9},
    "tasks": {
        "ill": {
            "kind": "detect",
            "figures": dict.fromkeys(METRICS["detect"], 0.5) | {"auprc": 0.45},
            "intervals": {"auprc": {"low": 0.4, "high": 0.5}},
            "baselines": {
                "constant": {"auprc": 0.1, "auroc": 0.5},
                "forest": {"auprc": 0.3, "auroc": 0.7},
                "LSTM": {"auprc": 0.2, "auroc": 0.6},
            },
        },
        "oil": {
            "kind": "regress",
            "figures": dict.fromkeys(METRICS["regress"], 11.5),
            "intervals": {},
            "baselines": {"constant": {"mae": 12.0}, "ridge": {"mae": 9.0}, "mean": {"mae": 10.0}},
        },
        "speaker": {
            "kind": "verify",
            "figures": dict.fromkeys(METRICS["verify"], 0.25),
            "intervals": {"static_eer": {"low": 0.2, "high": 0.3}},
            "baselines": {"mean spectrum": {"static_eer": 0.3}},
            "trials": {"same": 672, "different": 17664, "sha256": 4 * "0123456789abcdef", "rule": "all pairs"},
        },
    },
}  # fmt: skip


@pytest.fixture
def results() -> dict[str, Any]:
    return copy.deepcopy(RESULTS)


@pytest.mark.parametrize(
    "line",
    [
        Line("codes", "active static units", "3 of 8"),
        Line("codes", "active dynamic units", "2 of 4"),
        Line("codes", "KL static", "1.23 nats a sequence", "near 0: collapsed"),
        Line("likelihood", "NLL", "125.50 nats a sequence"),
        Line("likelihood", "KL dynamic", "5.68 nats a sequence", "near 0: collapsed"),
        Line("likelihood", "terms of the objective", "fit 100, first 25.5, cost 5.678"),
        Line("consistency", "static code of an encoded swap", "0.125", "0 perfect, 1 as far as another sequence"),
        Line(
            "consistency",
            "dynamic codes of an encoded swap",
            "none: the codes never differ",
            "0 perfect, 1 as far as another sequence",
        ),
        Line("consistency", "static code over starts (ICC)", "0.750", "1 constant"),
        Line("consistency", "static code of shuffled steps", "0.250", "0 free of order, 1 as far as another sequence"),
        Line("judge", "least accuracy on real sequences", "97.5 %", "bounds all below"),
        Line("judge", "d kept, s drawn: what", "87.5 %", "should be kept"),
        Line("judge", "d kept, s drawn: who", "30.0 %", "should be lost: chance 25.0 %"),
        Line("judge", "d kept, s drawn: IS, H(y|x), H(y)", "3.900, 0.010, 1.375", "real sequences 3.900, 0.010, 1.375"),
        Line("judge", "s kept, d drawn: who", "90.0 %", "should be kept"),
        Line("judge", "d kept, s drawn: what as judged on the real sequence", "43.8 %", "drawn from static_prior"),
        Line("judge", "s kept, d drawn: who as judged on the real sequence", "45.0 %", "drawn from prior"),
        Line("judge", "swap: who", "80.0 %", "chance 25.0 %"),
        Line("judge", "swap: who of the other source", "12.5 %", "chance 25.0 %; 30 swaps of sources that differ"),
        Line("judge", "swap: all at once", "60.0 %", "chance 12.5 %; a code unread 100.0 %"),
        Line("Frechet", "reconstruction", "1.250", "real training sequences 0.500"),
        Line("Frechet", "generation", "8.000", "real training sequences 0.500"),
        Line("judge", "swap against its truth, all steps", "4.00", "reconstruction 2.00, no swap 9.00"),
        Line("judge", "swap against its truth, step 1", "5.00", "reconstruction 2.50, no swap 8.00"),
        Line("judge", "intervention_two_factor_swap", "0.875", "1 is best"),
        Line("leakage", "what from s, linear", "30.0 %", "chance 40.0 %; from d 95.0 %"),
        Line("DCI", "completeness", "0.250", "1 is best"),
        Line("task ill", "AUPRC", "0.450 (0.400 to 0.500)", "constant 0.100; forest 0.300"),
        Line("task ill", "AUROC", "0.500", "constant 0.500; forest 0.700"),
        Line("task ill", "AUROC, sampled codes", "0.500"),
        Line("task oil", "MAE", "11.500", "constant 12.000; ridge 9.000"),
        Line("task speaker", "EER of s", "0.250 (0.200 to 0.300)", "mean spectrum 0.300"),
        Line("task speaker", "trials", "672 pairs of one speaker, 17664 of two", "all pairs; SHA-256 0123456789abcdef"),
    ],
    ids=lambda line: f"{line.section}: {line.figure}",
)
def test_each_figure_stands_beside_what_it_compares_with(results: dict[str, Any], line: Line) -> None:
    assert summary(results).count(line) == 1


def test_only_a_kept_factor_has_an_inception_score(results: dict[str, Any]) -> None:
    assert sum("IS, H(y|x)" in line.figure for line in summary(results)) == 1


def test_sections_follow_each_other(results: dict[str, Any]) -> None:
    sections = list(dict.fromkeys(line.section for line in summary(results)))
    assert sections == [
        "likelihood",
        "codes",
        "consistency",
        "judge",
        "Frechet",
        "leakage",
        "DCI",
        "task ill",
        "task oil",
        "task speaker",
    ]
    assert len({(line.section, line.figure) for line in summary(results)}) == len(summary(results))


def test_what_was_not_measured_has_no_line(results: dict[str, Any]) -> None:
    for name in ("likelihood", "judge", "frechet", "leakage", "dci"):
        del results[name]
    results["tasks"] = {}
    assert {line.section for line in summary(results)} == {"codes", "consistency"}
    assert len(summary(results)) == 8


def test_what_a_method_has_not_has_no_line(results: dict[str, Any]) -> None:
    for name in ("active_static", "static_size", "static_divergence"):
        del results["codes"][name]
    for name in ("dynamic_kept", "swaps", "swap_truth"):
        del results["judge"][name]
    del results["likelihood"]["dynamic_divergence"], results["consistency"]
    lines = summary(results)
    assert not [line for line in lines if line.section == "consistency"]
    assert [line.figure for line in lines if line.section == "codes"] == ["active dynamic units"]
    assert [line.figure for line in lines if line.section == "likelihood"] == ["NLL", "terms of the objective"]
    assert [line.figure for line in lines if line.section == "judge" and ":" in line.figure] == [
        "s kept, d drawn: who", "s kept, d drawn: who as judged on the real sequence", "s kept, d drawn: what",
    ]  # fmt: skip


def test_nothing_but_skipped_protocols_has_no_lines() -> None:
    assert summary({"skipped": {"codes": "this model cannot encode"}}) == []


def test_a_truth_that_labels_do_not_tell_has_no_line(results: dict[str, Any]) -> None:
    results["judge"]["swap_truth"] = "labels do not identify a sequence"
    assert not [line for line in summary(results) if "truth" in line.figure]


def test_what_is_no_number_is_undefined(results: dict[str, Any]) -> None:
    results["codes"]["static_divergence"] = results["tasks"]["oil"]["figures"]["mae"] = None
    results["tasks"]["oil"]["baselines"]["ridge"]["mae"] = None
    results["tasks"]["ill"]["baselines"]["constant"]["auroc"] = None
    lines = {(line.section, line.figure): line for line in summary(results)}
    assert lines["codes", "KL static"].value == "undefined nats a sequence"
    assert lines["task oil", "MAE"] == Line("task oil", "MAE", "undefined", "constant 12.000; mean 10.000")
    assert lines["task ill", "AUROC"].beside == "forest 0.700; LSTM 0.600"
