"""From a .npy of poses to pictures of swaps, by the command line and with no option but the kind."""

from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sdkit.cli.main import app
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.run import find_run

COUNT, STEPS, JOINTS = 40, 7, 6


def sdkit(line: str) -> Result:
    result = CliRunner().invoke(app, line.split(), env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the poses, all files made of them, and a run with its bundle."""
    folder = tmp_path_factory.mktemp("poses")
    rng = np.random.default_rng(0)
    limbs, phase = rng.uniform(0.3, 0.6, (COUNT, 1, JOINTS)), rng.uniform(0, 6, (COUNT, 1, 1))
    angle = phase + np.arange(STEPS)[:, None] * 0.7 + np.arange(JOINTS)
    x = limbs * np.sin(angle) + rng.normal(0, 0.01, angle.shape)
    x[rng.random(x.shape) < 0.05] = np.nan
    np.save(folder / "poses.npy", x)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sdkit("data make arrays poses.npy -o poses.h5 --kind vector")
        sdkit("train poses.h5 --epochs 2 --device cpu")
        sdkit("export --format all")
        sdkit("swap poses.h5 poses.h5 -o swap.h5 --count 4")
        sdkit("render poses.h5")
        sdkit("render swap.h5 -o mixtures.png -n 2")
    return folder


def test_the_file(folder: Path) -> None:
    with SequenceFile(folder / "poses.h5") as file:
        assert file.element.describe() == "vector (6,) float32"
        np.testing.assert_array_equal(file.read(slice(None)), np.load(folder / "poses.npy").astype(np.float32))


def test_the_run_takes_the_preset_of_the_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    config = find_run(None).config
    assert config.preset == "vector"
    settings = msgspec.to_builtins(config.settings)
    assert (settings["static_size"], settings["likelihood"], settings["subtract"]) == (32, "mean", "hidden")
    assert config.facts.element.kind == "vector"
    assert len(config.facts.feature_mean) == JOINTS
    assert all(0.1 < value < 1 for value in config.facts.feature_std)


def test_the_bundle_gives_means_and_standard_deviations_in_both_formats(folder: Path) -> None:
    x = np.load(folder / "poses.npy").astype(np.float32)[:3]
    (manifest,) = folder.glob("runs/*/bundle/manifest.json")
    found = []
    for backend in ("onnx", "torchscript"):
        rt = Runtime.open(manifest.parent, device="cpu", backend=backend)
        outputs = rt.decode_outputs(rt.encode(x))
        assert set(outputs) == {"x", "x_std"}
        assert np.isfinite(outputs["x"]).all()
        assert (outputs["x_std"] > 0).all()
        found.append(outputs)
        step = rt.stream(3).push(x[:, 0])
        np.testing.assert_allclose(step.x, outputs["x"][:, 0], atol=1e-4)
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], atol=1e-4)


def test_the_swap_and_its_pictures(folder: Path) -> None:
    with SequenceFile(folder / "poses.h5") as file:
        rt = Runtime.open(next(folder.glob("runs/*/bundle")), device="cpu")
        x = file.read(slice(0, 4))
    with h5py.File(folder / "swap.h5") as swapped:
        assert swapped.attrs["element"] == "vector"
        for name, expected in zip(("static_a_dynamic_b", "static_b_dynamic_a"), rt.swap(x, x), strict=True):
            np.testing.assert_allclose(swapped[name][:], expected, atol=1e-5)
    for name in ("swap.png", "poses.png", "mixtures.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert list(folder.glob("runs/*/swaps/epoch-*.png"))


def test_animations_are_refused_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["render", "poses.h5", "-o", "poses.gif"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "animations are drawn of images, not of vector (6,) float32; end the picture in .png" in result.stderr
