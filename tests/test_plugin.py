"""A method that another package registers goes the whole way: trained, exported, verified, swapped, evaluated."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "plugin"
WAY = """
import json, warnings
warnings.simplefilter("ignore")
import pytest
from typer.testing import CliRunner

import sdkit
from sdkit.cli.main import app
from sdkit.evaluation.judge.training import find_judge
from sdkit.methods import find, names
from tests.export.runs import prove_here
from tests.sdkit.evaluation.labelled import hurry

patch = pytest.MonkeyPatch()
prove_here(patch)
hurry(patch)
find_judge.__kwdefaults__["epochs"] = 1  # a judge may be as bad as it likes here
run = sdkit.train("x.h5", method="mean", epochs=1, batch_size=16, swap_every=1, slowness=0.2,
    static_size=5, dynamic_size=4, encoder_widths=(4, 4, 6, 6, 8), decoder_widths=(8, 6, 4, 4))
bundle = sdkit.export_bundle(run)
report = sdkit.verify(bundle.path, run=run.path)
rt = sdkit.Runtime.open(bundle.path, device="cpu")
rt.swap_file("x.h5", "x.h5", "swap.h5", count=8)
found = sdkit.evaluate(run.path, data="x.h5", repeats=1, figures=False)
listed = CliRunner().invoke(app, ["methods", "mean", "--json"])
wrong = CliRunner().invoke(app, ["train", "--method", "mean", "--set", "slownes=1"])
print(json.dumps({
    "listed": listed.stdout, "wrong": [wrong.exit_code, wrong.stderr.replace("\\n", " ")],
    "names": names(), "from": find("mean").__module__, "method": bundle.manifest.method, "ok": report.ok,
    "reference": report.reference, "refusals": bundle.manifest.refusals, "terms": sorted(run.metrics()[-1]["train"]),
    "settings": run.config.settings["slowness"], "sections": sorted(found),
}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the plug-in into a folder of its own, and return an environment that finds it."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SDKIT_")}
    return {**kept, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}


@pytest.fixture(scope="module")
def found(environment: dict[str, str], puppets_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Go the whole way in a process of its own, and return what is found on it."""
    folder = tmp_path_factory.mktemp("way")
    shutil.copyfile(puppets_file, folder / "x.h5")
    command = [sys.executable, "-c", WAY]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_a_plugin_is_a_method_like_any_other(found: dict[str, Any]) -> None:
    assert "mean" in found["names"]
    assert found["from"] == "sdkit_mean"
    assert found["method"] == "mean"
    assert found["ok"]
    assert found["reference"] == "the weights in PyTorch"
    assert found["refusals"] == {"stream": "its static code is a mean over the whole sequence"}
    assert found["terms"] == ["kl_d", "kl_s", "loss", "nll", "slow"]
    assert found["settings"] == 0.2
    assert {"codes", "consistency", "judge", "leakage", "likelihood"} <= set(found["sections"])


def test_a_plugin_is_listed_and_trained_by_name(found: dict[str, Any]) -> None:
    (about,) = json.loads(found["listed"])
    assert about["title"] == "static code from the mean over time"
    code, said = found["wrong"]
    assert code == 2
    assert "unknown setting 'slownes' (did you mean 'slowness'?)" in said


def test_the_plugin_is_small() -> None:
    lines = (PLUGIN / "sdkit_mean" / "__init__.py").read_text().splitlines()
    assert len(lines) <= 60
