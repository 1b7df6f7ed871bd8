"""What is loaded when: nothing heavy for an import or a help text, and no PyTorch where ONNX graphs run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdkit.runtime.bundles.bundle import Bundle
from tests.runtime.conftest import WriteSequences

HEAVY = ("torch", "onnx", "onnxruntime", "matplotlib", "accelerate", "safetensors", "sklearn", "scipy", "PIL")

BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
"""

USE = """
import numpy as np
from sdkit.runtime import CodeFile, Runtime, SequenceFile

bundle, source, folder = sys.argv[1:]
rt = Runtime.open(bundle, device="cpu", threads=1)
with SequenceFile(source) as file:
    x = file.read(slice(0, 3))
codes = rt.encode(x)
assert codes.static.shape == (3, 5) and codes.dynamic.shape == (3, 5, 4)
assert rt.reconstruct(x).shape == rt.decode(codes).shape == x.shape
a, b = rt.swap(x, x[::-1])
assert np.abs(a - b[::-1]).max() < 0.1 and np.ptp(a) > 50
assert rt.generate(2, 6, seed=1).shape == (2, 6, 3, 16, 16)
assert rt.resample_static(x).shape == rt.resample_dynamic(x).shape == x.shape
assert np.allclose(rt.stream(3).push(x[:, 0]).static, codes.static, atol=1e-5)
rt.encode_file(source, folder + "/codes.h5")
rt.decode_file(folder + "/codes.h5", folder + "/decoded.h5", compression="lz4")
rt.swap_file(source, source, folder + "/swap.h5")
rt.generate_file(folder + "/new.h5", count=2, steps=3)
with CodeFile(folder + "/codes.h5") as file:
    assert np.allclose(file.read(slice(0, 3)).static, codes.static, atol=1e-5)
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SDKIT_", "COV_"))}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def loaded(code: str) -> list[str]:
    """Return the heavy modules that are loaded after some code."""
    result = run(f"{code}\nimport json, sys\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))")
    assert result.returncode == 0, result.stderr
    return list(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import sdkit",
        "import sdkit.runtime\nfrom sdkit.runtime import Bundle, Codes, Runtime, SequenceFile, SequenceWriter",
        "import sdkit.export, sdkit.data, sdkit.methods, sdkit.training, sdkit.figures, sdkit.presets",
        "from typer.testing import CliRunner\nfrom sdkit.cli.main import app\n"
        "for line in (['--help'], ['train', '--help'], ['swap', '--help'], ['export', '--help']):\n"
        "    result = CliRunner().invoke(app, line)\n"
        "    assert result.exit_code == 0, result.output",
    ],
    ids=["sdkit", "runtime", "packages", "help"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded(code) == []


def test_this_test_can_see_what_is_loaded() -> None:
    assert "onnxruntime" in loaded("import onnxruntime")


def test_the_command_itself_is_light(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sdkit.cli.main import main\nsys.argv = ['sdkit', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
    )
    assert loaded(code) == []


@pytest.mark.parametrize("how", ["a finder that refuses it", "None among the modules"])
def test_onnx_graphs_run_where_torch_cannot_be_imported(
    mini: Bundle, write_sequences: WriteSequences, tmp_path: Path, how: str
) -> None:
    blocked = ("torch", "onnx", "matplotlib", "accelerate", "safetensors")
    block = f"BLOCKED = {blocked}\n{BLOCK}"
    if how.startswith("None"):
        block = f"import sys\nfor name in {blocked}:\n    sys.modules[name] = None\n"
    check = f"assert not [m for m in {blocked} if sys.modules.get(m) is not None]"
    result = run(f"{block}\n{USE}\n{check}", mini.path, write_sequences(), tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert {path.name for path in tmp_path.iterdir()} == {"in.h5", "codes.h5", "decoded.h5", "swap.h5", "new.h5"}


def test_onnx_graphs_run_without_loading_torch_that_is_there(
    mini: Bundle, write_sequences: WriteSequences, tmp_path: Path
) -> None:
    check = "assert 'onnxruntime' in sys.modules\nassert not {'torch', 'onnx', 'matplotlib'} & set(sys.modules)"
    result = run(f"import sys\n{USE}\n{check}", mini.path, write_sequences(), tmp_path)
    assert result.returncode == 0, result.stderr


def test_missing_torch_is_told_by_the_extra_that_brings_it(mini: Bundle) -> None:
    code = f"""BLOCKED = ("torch",)
{BLOCK}
from sdkit.runtime import Runtime
try:
    Runtime.open(sys.argv[1], backend="torchscript")
except ImportError as error:
    print(error)
"""
    result = run(code, mini.path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "TorchScript graphs need PyTorch; pip install 'sdkit[train]', or use the ONNX graphs\n"


def test_public_names() -> None:
    import sdkit
    import sdkit.runtime

    for package in (sdkit, sdkit.runtime):
        assert set(package.__all__) <= set(dir(package))
        for name in package.__all__:
            assert getattr(package, name) is not None
        with pytest.raises(AttributeError, match="has no attribute nonsense"):
            _ = package.nonsense
