"""The set in tests/conformance: what a host is held against, kept so that it can be used without Python."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.specs import SUFFIXES
from sdkit.runtime.element import Array
from sdkit.runtime.runtime import Runtime
from tests.hosts.golden import (
    BUNDLES,
    KEPT,
    LENGTHS,
    found,
    make_conformance,
    read,
    refused,
    too_long,
)
from tests.hosts.patchwork import CONFORMANCE, MAX_STEPS, installed

GOLDEN: dict[str, Any] = json.loads((KEPT / "golden.json").read_text())
BUDGET = 1_500_000
"""Bytes of the whole set: it is kept in the repository."""
NAMES = tuple(GOLDEN["bundles"])


def inputs_of(folder: Path, name: str) -> dict[str, Array]:
    return {key: read(folder, about) for key, about in GOLDEN["bundles"][name]["inputs"].items()}


def check(name: str, results: dict[str, Array]) -> None:
    """Hold results against the kept ones."""
    outputs = GOLDEN["bundles"][name]["outputs"]
    assert set(results) == set(outputs) - {"cast()/x"}
    for result in results:
        about, want = outputs[result], read(KEPT, outputs[result])
        assert (results[result].shape, results[result].dtype) == (want.shape, want.dtype), result
        np.testing.assert_allclose(results[result], want, rtol=about["rtol"], atol=about["atol"], err_msg=result)


@pytest.mark.parametrize("name", NAMES)
def test_python_gives_the_kept_results(name: str) -> None:
    rt = Runtime.open(KEPT / name, device="cpu", threads=1, batch_size=2)
    inputs = inputs_of(KEPT, name)
    check(name, found(rt, inputs))
    assert refused(rt, inputs) == GOLDEN["bundles"][name]["refused"]
    limit = GOLDEN["bundles"][name].get("limit")
    assert (limit is None) == (rt.abilities.max_steps is None)
    assert limit is None or too_long(rt, limit["steps"]) == limit["message"]
    outputs = GOLDEN["bundles"][name]["outputs"]
    cast = rt.element.cast(read(KEPT, outputs["decode()/x"]))
    np.testing.assert_array_equal(cast, read(KEPT, outputs["cast()/x"]), strict=True)


def test_a_set_made_anew_gives_the_kept_results(conformance_set: Path) -> None:
    about = json.loads((conformance_set / "golden.json").read_text())
    for name, bundle in about["bundles"].items():
        for key, value in inputs_of(conformance_set, name).items():
            np.testing.assert_allclose(value, read(KEPT, GOLDEN["bundles"][name]["inputs"][key]), rtol=1e-4, atol=1e-5)
        results = {result: read(conformance_set, array) for result, array in bundle["outputs"].items()}
        results.pop("cast()/x", None)  # a value between two grey levels may fall to either
        check(name, results)
    assert about == GOLDEN  # names, shapes, seeds and tolerances
    assert {path.relative_to(conformance_set) for path in conformance_set.rglob("*") if not left_out(path)} == {
        path.relative_to(KEPT) for path in KEPT.rglob("*") if path.name != "README.md"
    }


def left_out(path: Path) -> bool:
    """Return whether a file of a bundle is not kept: TorchScript graphs, and what proves a bundle to Python."""
    return path.name.endswith(SUFFIXES["torchscript"]) or path.name in ("golden.npz", "parity.json")


def test_format_1_is_kept_and_today_is_in_the_format_of_today() -> None:
    formats = {name: json.loads((KEPT / name / "manifest.json").read_text())["version"] for name in NAMES}
    assert formats == {"format1": 1, **dict.fromkeys(BUNDLES, 2)}


def test_a_set_has_the_verbs_of_each_bundle_and_what_the_others_are_refused_with(tmp_path: Path) -> None:
    with installed():
        made = make_conformance(tmp_path / "made", torchscript=False, bundles=CONFORMANCE)
    bundles = json.loads(made.read_text())["bundles"]
    reason = "its dynamic codes are those of one static code"
    assert bundles["patchwork"]["refused"]["swap"] == f"this model cannot swap: {reason}"
    assert bundles["patchwork"]["limit"]["steps"] == MAX_STEPS + 1
    assert f"at most {MAX_STEPS} steps, not {MAX_STEPS + 1}" in bundles["patchwork"]["limit"]["message"]
    for name in CONFORMANCE:
        assert not [path for path in (tmp_path / "made" / name).iterdir() if left_out(path)]
        rt = Runtime.open(tmp_path / "made" / name, device="cpu", threads=1)
        had = {verb.partition("(")[0] for verb in bundles[name]["outputs"]} - {"cast"}
        assert had == set(rt.abilities.verbs)
        assert set(bundles[name]["refused"]) == set(rt.abilities.refusals)
    assert set(bundles["generator"]["outputs"]) == {"decode()/x", "cast()/x", "generate()/x"}
    assert "limit" not in bundles["generator"]


def test_torchscript_of_the_same_models_gives_the_kept_results(conformance_set: Path) -> None:
    for name in NAMES:
        rt = Runtime.open(conformance_set / name, device="cpu", backend="torchscript", threads=1)
        check(name, found(rt, inputs_of(KEPT, name)))


def test_the_set_is_small_and_what_its_description_says() -> None:
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < BUDGET
    named = {
        array["file"]
        for bundle in GOLDEN["bundles"].values()
        for array in (*bundle["inputs"].values(), *bundle["outputs"].values())
    } | {noise[key]["file"] for noise in GOLDEN["noise"] for key in ("raw", "normal")}
    assert {str(path.relative_to(KEPT)) for path in KEPT.glob("arrays/*")} == named
    for name in NAMES:
        assert Bundle.open(KEPT / name).manifest.formats == ("onnx",)
    series = inputs_of(KEPT, "series")
    assert np.isnan(series["x"]).any()
    assert inputs_of(KEPT, "image")["x"].dtype == np.uint8
    assert (series["x"].shape[1], series["other"].shape[1]) == LENGTHS


@pytest.mark.parametrize("name", NAMES)
def test_results_are_unlike_one_another(name: str) -> None:
    """A host that takes one verb for another would be seen."""
    outputs = {key: read(KEPT, about) for key, about in GOLDEN["bundles"][name]["outputs"].items()}
    same_on_purpose = {"decode()/x", "reconstruct()/x", "stream()/x"}
    if name == "vae":
        same_on_purpose.add("stream(reset)/x")  # there is nothing to forget
    decoded = [key for key in outputs if key.endswith(("/x", "_b", "_a")) and not key.startswith("cast")]
    for i, a in enumerate(decoded):
        for b in decoded[i + 1 :]:
            if outputs[a].shape == outputs[b].shape and not {a, b} <= same_on_purpose:
                allowed = GOLDEN["bundles"][name]["outputs"][a]
                difference = np.abs(outputs[a] - outputs[b])
                assert (difference > 10 * (allowed["atol"] + allowed["rtol"] * np.abs(outputs[b]))).any(), (a, b)
