"""The commands, as they are typed: the three of the card with nothing added, then every other."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

import sdkit
from sdkit import methods
from sdkit.cli.main import app
from sdkit.data import make_dataset
from sdkit.export.proof.parity import Metric
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Array
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import TRAIN_KEYS, preset
from sdkit.training.run import Run
from tests.export.runs import prove_here
from tests.tiny import TINY_64

COMMANDS: dict[str, tuple[str, ...]] = {
    "data make": ("--output", "--set", "--list-options", "--count", "--split", "--seed", "--compression", "--force"),
    "data info": ("--check", "--json"),
    "methods": ("--json",),
    "compare": (
        "--methods",
        "--steps",
        "--trials",
        "--seeds",
        "--objective",
        "--set",
        "--output",
        "--keep-runs",
        "--device",
        "--json",
    ),
    "train": (
        "--method",
        "--preset",
        "--variant",
        "--set",
        "--list-settings",
        "--epochs",
        "--seed",
        "--name",
        "--device",
        "--resume",
        "--json",
    ),
    "tune": (
        "--method",
        "--variant",
        "--trials",
        "--epochs",
        "--objective",
        "--preset",
        "--set",
        "--seed",
        "--study",
        "--timeout",
        "--json",
    ),
    "export": (
        "--format",
        "--output",
        "--opset",
        "--weights",
        "--precision",
        "--calibration",
        "--calibration-count",
        "--metrics",
        "--web",
        "--samples",
        "--triton",
        "--force",
        "--json",
    ),
    "serve": ("--port", "--no-open"),
    "verify": ("--run", "--device", "--json"),
    "encode": ("--output", "--bundle", "--split", "--seed", "--device", "--backend", "--batch-size", "--force"),
    "decode": ("--output", "--bundle", "--device", "--backend", "--threads", "--batch-size", "--force"),
    "reconstruct": ("--output", "--bundle", "--split", "--device", "--backend", "--batch-size", "--force"),
    "swap": ("--output", "--picture", "--no-picture", "--count", "--bundle", "--device", "--backend", "--force"),
    "generate": ("--count", "--steps", "--keep", "--like", "--output", "--seed", "--split", "--bundle", "--force"),
    "render": ("--output", "--split", "--count", "--first", "--scale", "--rate", "--force"),
    "evaluate": (
        "--data",
        "--output",
        "--repeats",
        "--seed",
        "--backend",
        "--device",
        "--no-figures",
        "--force",
        "--json",
    ),
    "reproduce": ("--source", "--seeds", "--epochs", "--rows", "--only", "--device", "--list", "--json"),
    "bench": ("--data", "--count", "--rounds", "--profile", "--device", "--backend", "--threads", "--folder", "--json"),
    "info": ("--json",),
    "doctor": ("--json",),
}


def sdkit_(line: str, code: int = 0) -> str:
    """Run a command line and return what it wrote to stdout."""
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == code, result.stderr
    return result.stdout


def data(path: str, name: str = "data") -> Array:
    with h5py.File(path) as file:
        return np.asarray(file[name][:])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("SDKIT_RUN", "SDKIT_BUNDLE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def puppets_6(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return six puppets of the test split."""
    path = tmp_path_factory.mktemp("six") / "a.h5"
    return make_dataset("puppets", path, count=6, split="test", seed=1)


@pytest.fixture
def bundle(exported: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Return a tiny bundle, named by SDKIT_BUNDLE."""
    found = exported("paper")
    monkeypatch.setenv("SDKIT_BUNDLE", str(found.path))
    return found


def test_the_three_commands_of_the_card(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(name: str, path: Path, **options: Any) -> Path:
        return make_dataset(name, path, count=66, **options)

    def tiny(name: str) -> dict[str, Any]:
        sections = preset(name)
        train = {**sections["train"], "epochs": 2, "batch_size": 16}
        return {**sections, "shared": {**sections["shared"], **TINY_64}, "train": train}

    monkeypatch.setattr("sdkit.training.train.make_dataset", small)
    monkeypatch.setattr("sdkit.training.config.preset", tiny)
    prove_here(monkeypatch)
    for name, seed in (("a", 1), ("b", 2)):
        sdkit_(f"data make puppets --count 6 --split test --seed {seed} -o {name}.h5")

    sdkit_("train")
    assert {p.name for p in (here / "runs" / "puppets").iterdir()} >= {"config.json", "best.safetensors", "curves.png"}
    assert "onnx on cpu against" in sdkit_("export --format onnx")
    sdkit_("swap a.h5 b.h5")

    assert sorted(p.name for p in here.iterdir()) == ["a.h5", "b.h5", "runs", "swap.h5", "swap.png"]
    mixed = data("swap.h5", "static_a_dynamic_b")
    assert mixed.shape == (6, 8, 3, 64, 64)
    assert mixed.dtype == np.uint8
    rt = sdkit.Runtime.open("runs/puppets", device="cpu")
    expected, _ = rt.swap(SequenceFile("a.h5").read(slice(None)), SequenceFile("b.h5").read(slice(None)))
    assert np.abs(rt.element.cast(expected).astype(int) - mixed).max() <= 1
    with Image.open("swap.png") as picture:
        assert picture.width > 8 * 64


def test_resume_and_json(here: Path, trained: Callable[[str], Run], puppets_file: Path) -> None:
    shutil.copytree(trained("paper").path, here / "runs" / "paper", ignore=shutil.ignore_patterns("bundle"))
    told = json.loads(sdkit_("train --resume --epochs 3 --json"))
    assert told["run"] == "runs/paper"
    assert told["epoch"] == 3
    assert {"train", "val", "active_static", "active_dynamic", "seconds"} <= set(told)
    assert [m["epoch"] for m in Run(Path("runs/paper")).metrics()] == [1, 2, 3]


def test_data_info(puppets_6: Path) -> None:
    facts = json.loads(sdkit_(f"data info {puppets_6} --json"))
    assert (facts["name"], facts["sequences"], facts["steps"]) == ("puppets", 6, 8)
    assert facts["checked"] is False
    text = sdkit_(f"data info {puppets_6} --check")
    assert "every value read" in text
    for factor in SequenceFile(puppets_6).factors:
        assert f"  {factor.name} " in text


def test_export_as_json(here: Path, trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch) -> None:
    prove_here(monkeypatch)
    told = json.loads(sdkit_(f"export {trained('paper').path} -o out --json"))
    assert told["bundle"] == "out"
    assert told["ok"] is True
    assert {"result", "max_abs", "atol"} <= set(told["results"][0])
    assert (here / "out" / "manifest.json").is_file()


def test_export_of_8_bits(here: Path, trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def metrics_of(run: Path, data: Path | None, reporter: Any) -> Any:
        asked.append((run, data))
        return lambda candidate, reference: {"judge accuracy": Metric(0.5, 0.75)}

    prove_here(monkeypatch)
    monkeypatch.setattr("sdkit.experiments.metric_parity.metrics_of", metrics_of)
    run = trained("paper").path
    text = sdkit_(f"export {run} -o small --precision int8 --calibration-count 8 --metrics")
    assert asked == [(run, None)]
    assert "rms 15 %" in text
    assert "int8 against float32 on" in text
    assert "judge accuracy: 0.5, in float32 0.75" in text
    facts = json.loads(sdkit_("info small --json"))
    assert facts["precision"] == "int8"
    told = json.loads(sdkit_("verify small --json"))
    assert (told["ok"], told["precision"]) == (True, "int8")
    said = sdkit_(f"export {run} -o half --precision float16 --json")
    assert json.loads(said)["errors"]["calibrated_on"] == 0
    for options in ("--precision int8 --format all", "--metrics", "--calibration x.h5", "--precision int4"):
        sdkit_(f"export {run} -o other {options}", code=2)
    assert not (here / "other").exists()


def test_verify(bundle: Bundle) -> None:
    told = json.loads(sdkit_("verify --json"))
    assert told["ok"] is True
    assert told["reference"] == "the weights in PyTorch"
    assert {line["candidate"] for line in told["results"]} == {"onnx on cpu", "torchscript on cpu"}
    text = sdkit_("verify")
    assert "onnx on cpu against the weights in PyTorch" in text
    assert "DIFFERS" not in text


def test_info(bundle: Bundle) -> None:
    facts = json.loads(sdkit_("info --json"))
    assert facts["path"] == str(bundle.path)
    assert set(facts["graphs"]) == set(bundle.manifest.graphs)
    text = sdkit_(f"info {bundle.path.parent}")  # a run means its bundle
    assert "image (3, 64, 64) uint8" in text
    assert "encoder.onnx" in text


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = json.loads(sdkit_("doctor --json"))
    assert {"python", "numpy", "torch"} <= {finding["subject"] for finding in findings}
    assert {finding["status"] for finding in findings} <= {"ok", "note"}
    assert "python" in sdkit_("doctor")
    from sdkit.health import Finding

    monkeypatch.setattr("sdkit.health.doctor", lambda: [Finding("numpy", "problem", "not installed [at all]")])
    assert "not installed [at all]" in sdkit_("doctor", code=1)
    assert json.loads(sdkit_("doctor --json", code=1))[0]["status"] == "problem"


@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_decoded_codes_are_the_reconstruction(bundle: Bundle, puppets_6: Path, backend: str) -> None:
    sdkit_(f"encode {puppets_6} --backend {backend} --device cpu")
    assert data("codes.h5", "static").shape == (6, bundle.manifest.widths.static_size)
    assert data("codes.h5", "dynamic").shape == (6, 8, bundle.manifest.widths.dynamic_size)
    np.testing.assert_array_equal(data("codes.h5", "labels"), data(str(puppets_6), "labels"))
    sdkit_(f"decode codes.h5 --backend {backend} --device cpu --compression lz4")
    sdkit_(f"reconstruct {puppets_6} --backend {backend} --device cpu --batch-size 4")
    assert np.abs(data("decoded.h5").astype(int) - data("reconstructed.h5")).max() <= 1


def test_a_seed_decides_what_is_generated(bundle: Bundle) -> None:
    for name, seed in (("a", 3), ("again", 3), ("other", 4)):
        sdkit_(f"generate -n 5 --steps 4 --seed {seed} -o {name}.h5")
    assert data("a.h5").shape == (5, 4, 3, 64, 64)
    np.testing.assert_array_equal(data("again.h5"), data("a.h5"))
    assert (data("other.h5") != data("a.h5")).any()


def test_generated_by_default(bundle: Bundle) -> None:
    sdkit_("generate")
    assert data("generated.h5").shape == (64, bundle.manifest.steps, 3, 64, 64)


@pytest.mark.parametrize("keep", ["static", "dynamic"])
def test_one_code_is_kept(bundle: Bundle, puppets_6: Path, keep: str) -> None:
    sdkit_(f"generate --keep {keep} --like {puppets_6} --seed 5")
    made = data("generated.h5")
    rt = sdkit.Runtime.open(device="cpu")
    x = SequenceFile(puppets_6).read(slice(None))
    # What is kept and what is drawn: the verb that draws the dynamic codes keeps the static one.
    expected = rt.resample_dynamic(x, seed=5) if keep == "static" else rt.resample_static(x, seed=5)
    assert made.shape == x.shape
    assert np.abs(rt.element.cast(expected).astype(int) - made).max() <= 1
    sdkit_(f"generate --keep {keep} --like {puppets_6} --seed 5 -n 2 --force")
    assert np.abs(data("generated.h5").astype(int) - made[:2]).max() <= 1


def test_swap_options(here: Path, bundle: Bundle, puppets_6: Path) -> None:
    sdkit_(f"swap {puppets_6} {puppets_6} --count 2 --no-picture -o first.h5")
    assert data("first.h5", "static_b_dynamic_a").shape == (2, 8, 3, 64, 64)
    assert sorted(p.name for p in here.iterdir()) == ["first.h5"]
    sdkit_(f"swap {puppets_6} {puppets_6} --count 2 --picture pair.png")
    sdkit_(f"swap {puppets_6} {puppets_6} --count 2 --picture pair.png --force")
    assert sorted(p.name for p in here.iterdir()) == ["first.h5", "pair.png", "swap.h5"]
    sdkit_("render swap.h5 -o swap.gif")
    sdkit_("render swap.h5")
    assert (here / "swap.png").is_file()


def test_render(puppets_6: Path) -> None:
    sdkit_(f"render {puppets_6} -o grid.png -n 3 --first 1")
    sdkit_(f"render {puppets_6} -o twice.png -n 3 --first 1 --scale 2")
    with Image.open("grid.png") as grid, Image.open("twice.png") as twice:
        assert grid.format == "PNG"
        assert twice.height > 1.5 * grid.height
    sdkit_(f"render {puppets_6} -o clip.gif --rate 4")
    with Image.open("clip.gif") as clip:
        assert clip.format == "GIF"
        assert clip.n_frames == 8  # type: ignore[attr-defined]
        assert clip.info["duration"] == 250
    before = Path("grid.png").read_bytes()
    sdkit_(f"render {puppets_6} -o grid.png -n 1 --force")
    assert Path("grid.png").read_bytes() != before


def test_variables_name_run_and_bundle(
    here: Path, trained: Callable[[str], Run], exported: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = exported("paper")
    for name in ("older", "newer"):
        shutil.copytree(trained("paper").path, here / "runs" / name)
        (here / "runs" / name / "config.json").touch()
    os.utime(here / "runs" / "older" / "config.json", (1, 1))
    assert json.loads(sdkit_("info --json"))["path"] == "runs/newer/bundle"
    monkeypatch.setenv("SDKIT_RUN", "older")  # a name under runs/ or a path
    assert json.loads(sdkit_("info --json"))["path"] == "runs/older/bundle"
    monkeypatch.setenv("SDKIT_RUN", "runs/newer")
    assert json.loads(sdkit_("info --json"))["path"] == "runs/newer/bundle"
    monkeypatch.setenv("SDKIT_BUNDLE", str(bundle.path))
    assert json.loads(sdkit_("info --json"))["path"] == str(bundle.path)
    assert json.loads(sdkit_("info older --json"))["path"] == "runs/older/bundle"  # what is typed comes first
    result = CliRunner().invoke(app, ["export"])  # of SDKIT_RUN, whose bundle is there already
    assert "runs/newer/bundle exists already" in result.stderr


def test_settings_are_listed(here: Path) -> None:
    lines = sdkit_("train --list-settings --preset sprites").splitlines()
    listed = dict(line.split(" = ", 1) for line in lines if not line.startswith("    "))
    assert lines[lines.index("adam_beta1 = 0.9") + 1].startswith("    Decay of Adam's mean of gradients")
    assert {"beta", "static_size", "epochs", "learning_rate"} <= set(listed)
    assert float(listed["beta"]) == preset("sprites")["dbse"]["beta"]
    assert listed["filter"] == "True"  # the variant that images are trained with unless told otherwise
    assert "filter = False" in sdkit_("train --list-settings --variant paper").splitlines()
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", methods.names())
def test_settings_of_every_method_are_listed(here: Path, name: str) -> None:
    lines = sdkit_(f"train --list-settings --method {name}").splitlines()
    listed = [line.partition(" = ")[0] for line in lines if not line.startswith("    ")]
    assert listed == [*methods.find(name).Settings.__struct_fields__, *TRAIN_KEYS]


def test_methods_are_listed_with_what_they_can_do() -> None:
    found = {about["name"]: about for about in json.loads(sdkit_("methods --json"))}
    assert list(found) == methods.names()
    assert list(found["dbse"]["variants"]) == ["paper", "release", "filter"]
    words = " ".join(sdkit_("methods").split())
    for name, about in found.items():
        assert " ".join(f"{name} {about['title']}".split()) in words
        for reason in about["refusals"].values():
            assert reason in words
    only = sdkit_("methods dbse")
    assert only.startswith("dbse")
    assert "  variants: paper, release, filter" in only
    assert "  verbs: encode, decode, reconstruct, swap, generate" in only


def test_version() -> None:
    assert sdkit_("--version") == f"sdkit {sdkit.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    text = sdkit_(f"{command} --help")
    assert sdkit_(f"{command} -h") == text
    for option in COMMANDS[command]:
        assert option in text


def test_help_lists_every_command() -> None:
    text = sdkit_("--help")
    group: Any = get_command(app)
    names = set(group.commands) - {"data"} | {f"data {name}" for name in group.commands["data"].commands}
    assert names == set(COMMANDS)
    for name in group.commands:
        assert name in text


def test_bench(bundle: Bundle, here: Path, puppets_6: Path) -> None:
    options = f"--data {puppets_6} --count 6 --rounds 1 --device cpu --threads 1 --folder {here}"
    told = json.loads(sdkit_(f"bench {options} --profile --json"))
    assert told["bundle"] == str(bundle.path)
    assert {verb: speed["sequences"] for verb, speed in told["verbs"].items()} == {
        "encode": 6,
        "swap": 12,
        "generate": 6,
    }
    for speed in told["verbs"].values():
        assert speed["fraction"] > 0
    assert told["start_up"]["loaded"] == []
    assert {graph["graph"] for graph in told["profile"]} == set(bundle.manifest.graphs)
    text = sdkit_(f"bench {options}")
    for word in ("encode", "swap", "generate", "latency", "memory", "start-up", "loaded without need: nothing"):
        assert word in text
    assert list(here.iterdir()) == []
