import dataclasses
import json
import re
import statistics
from pathlib import Path

import pytest

from sdkit.experiments.copied import Copied
from sdkit.experiments.report import APART, as_json, as_markdown, command
from sdkit.experiments.results import PartResult, RowResult, TableResult

SETTINGS = {
    "method": "dbse", "variant": "paper", "epochs": 2,
    "changed": {"alpha": 0.1, "likelihood": "mean", "batch_size": 30},
    "train": {"epochs": 2, "batch_size": 30}, "settings": {"static_size": 8, "alpha": 0.1, "likelihood": "mean"},
}  # fmt: skip
INTERVAL = {"value": 0.4, "low": 0.25, "high": 0.5, "sd": 0.1, "level": 0.95, "draws": 2000}


@pytest.fixture
def result() -> TableResult:
    """Return a table of two seeds."""
    rows = [
        RowResult("constant", "baseline", {"score": [0.1, 0.1]}),
        RowResult("our model, untrained", "control", {"score": [0.2, 0.3], "static_divergence": [1.0, 2.0]}),
        RowResult(
            "our model", "model",
            {"score": [0.4, 0.6], "entropy": [float("nan"), 1.0], "static_divergence": [5.0, 5.0]},
            {"score": INTERVAL}, ["runs/a-s0", "runs/a-s1"], SETTINGS, 2.25, {"score": "0.447 ± 0.02"},
        ),
    ]  # fmt: skip
    columns = {"score": "AUPRC", "entropy": "H(y|x)", "static_divergence": "KL_s"}
    part = PartResult("waves", "ill", columns, rows, ["the test split is small"], {"train": 72, "val": 24, "test": 24})
    return TableResult(
        "table0", "Table 0, waves", [0, 1], 2, [], None, [part], {"voices": "no source was given"},
        Path("runs/reproduce/table0.json"), Path("runs/reproduce/table0.md"),
    )  # fmt: skip


def table(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table, checked for their number."""
    rows = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    assert len({len(row) for row in rows}) == 1
    return rows


def test_rows_of_each_kind_below_each_other(result: TableResult) -> None:
    header, line, *rows = table(as_markdown(result))
    assert header == ["row", "AUPRC", "H(y|x)", "KL_s"]  # the bar in a title parts no cells
    assert set(line) == {"---"}
    assert rows == [
        ["**without a model**", "", "", ""],
        ["constant", "0.100", "", ""],
        ["**controls**", "", "", ""],
        ["our model, untrained", "0.250 ± 0.071", "", "1.500 ± 0.707"],
        ["**models**", "", "", ""],
        ["our model", "0.500 ± 0.141", "nan ± nan", "5.000"],
        ["*the paper prints, our model*", "0.447 ± 0.02", "", ""],
    ]


def test_the_rest_of_the_page(result: TableResult) -> None:
    text = as_markdown(result)
    lines = text.splitlines()
    assert lines[:5] == ["# Table 0, waves", "", "`sdkit reproduce table0 --seeds 2 --epochs 2`", "",
                         "## waves, ill (72 train, 24 val, 24 test)"]  # fmt: skip
    assert "Mean ± standard deviation over 2 seeds of representation and heads." in lines
    assert "The test split is small." in lines
    assert "- our model, AUPRC, first seed: 0.400, 95% bootstrap interval 0.250 to 0.500" in lines
    assert (
        "- our model: method dbse, variant paper, epochs 2, alpha 0.1, likelihood mean, batch_size 30; "
        "2.2 minutes of training in all."
    ) in lines
    assert lines[-1] == "voices: left out, no source was given."
    assert text.endswith(".\n")


def with_others(result: TableResult) -> None:
    """Add a re-implemented row, a row that is left out and copied ones."""
    (part,) = result.parts
    row = RowResult("TVAE", "reimplemented", {"score": [0.5, 0.7]}, settings={**SETTINGS, "method": "tvae"})
    row.notes = ["it is read otherwise"]
    part.rows.insert(0, row)
    part.left_out = {"UVAE": "this model cannot encode: it is deaf"}
    part.copied = [
        Copied("TVAE", "tvae", "the first edition", {"score": "0.5012 ± 0.1", "entropy": "1.2"}),
        Copied("Raw", "raw", "the second edition", {"score": "0.6"}, "it is of other data"),
    ]


def test_other_methods_are_below_the_models_and_what_is_copied_is_apart(result: TableResult) -> None:
    with_others(result)
    text = as_markdown(result)
    measured, _, copied = text.partition("### Copied figures: waves, ill\n")
    assert [row[0] for row in table(measured)][-5:] == [
        "**models**", "our model", "*the paper prints, our model*", "**other methods, re-implemented**", "TVAE",
    ]  # fmt: skip
    assert "0.5012" not in measured
    assert table(copied) == [
        ["row", "AUPRC", "H(y|x)", "copied from"],
        ["---"] * 4,
        ["TVAE", "0.5012 ± 0.1", "1.2", "the first edition"],
        ["Raw", "0.6", "", "the second edition"],
    ]
    lines = text.splitlines()
    assert APART in lines
    assert "Raw: it is of other data." in lines
    assert "TVAE: it is read otherwise." in lines
    assert "UVAE: left out, this model cannot encode: it is deaf." in lines
    assert (
        "Other methods are re-implemented and trained here, over the element networks of the models above them."
        in lines
    )
    assert any(line.startswith("- TVAE: method tvae, variant paper, epochs 2") for line in lines)


def test_json_keeps_copied_rows_apart(result: TableResult) -> None:
    with_others(result)
    (part,) = json.loads(as_json(result))["parts"]
    assert {row["kind"] for row in part["rows"]} == {"baseline", "control", "model", "reimplemented"}
    assert part["rows"][0]["notes"] == ["it is read otherwise"]
    assert part["left_out"] == {"UVAE": "this model cannot encode: it is deaf"}
    assert part["copied"][1] == {
        "title": "Raw", "method": "raw", "edition": "the second edition", "figures": {"score": "0.6"},
        "note": "it is of other data",
    }  # fmt: skip


def test_a_table_without_other_methods_says_nothing_of_them(result: TableResult) -> None:
    text = as_markdown(result)
    assert "opied" not in text
    assert "re-implemented" not in text


def test_a_method_without_variants_names_none(result: TableResult) -> None:
    row = result.parts[0].rows[2]
    row.settings = {"method": "gp", "variant": "", "epochs": 3, "changed": {}, "train": {}, "settings": {}}
    assert "- our model: method gp, epochs 3; 2.2 minutes of training in all." in as_markdown(result).splitlines()


def test_one_seed_has_no_spread(result: TableResult) -> None:
    one = dataclasses.replace(result, seeds=[0], epochs=None, skipped={})
    (part,) = one.parts
    for row in part.rows:
        row.values = {name: values[:1] for name, values in row.values.items()}
    text = as_markdown(one)
    assert "over 1 seed of" in text
    assert ["our model", "0.400", "nan", "5.000"] in table(text)


def test_json_holds_everything_and_no_nan(result: TableResult) -> None:
    def refuse(token: str) -> None:
        pytest.fail(f"{token} is no JSON")

    told = json.loads(as_json(result), parse_constant=refuse)
    assert (told["name"], told["seeds"], told["epochs"]) == ("table0", [0, 1], 2)
    assert told["json_path"] == "runs/reproduce/table0.json"
    (part,) = told["parts"]
    model = part["rows"][2]
    assert model["values"] == {"score": [0.4, 0.6], "entropy": [None, 1.0], "static_divergence": [5.0, 5.0]}
    assert model["intervals"]["score"] == INTERVAL
    assert model["settings"] == SETTINGS
    assert model["printed"] == {"score": "0.447 ± 0.02"}
    assert model["runs"] == ["runs/a-s0", "runs/a-s1"]
    assert told["skipped"] == {"voices": "no source was given"}


def test_json_and_markdown_agree(result: TableResult) -> None:
    told = json.loads(as_json(result))
    rows = {row[0]: row[1:] for row in table(as_markdown(result))}
    (part,) = told["parts"]
    for row in part["rows"]:
        for name, cell in zip(part["columns"], rows[row["title"]], strict=True):
            values = row["values"].get(name, [])
            if None in values:
                continue
            mean, _, std = cell.partition(" ± ")
            assert mean == (f"{statistics.fmean(values):.3f}" if values else "")
            if std:
                assert std == f"{statistics.stdev(values):.3f}"


def test_the_command_names_what_was_asked(result: TableResult) -> None:
    assert command(dataclasses.replace(result, epochs=None)) == "sdkit reproduce table0 --seeds 2"
    asked = dataclasses.replace(result, chosen=["paper", "no-sub"], only="waves")
    assert command(asked) == "sdkit reproduce table0 --seeds 2 --epochs 2 --rows paper,no-sub --only waves"
    others = dataclasses.replace(result, epochs=None, peers=True)
    assert command(others) == "sdkit reproduce table0 --seeds 2 --peers"
