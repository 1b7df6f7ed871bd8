"""What README and docs show is what there is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.runtime.bundles.manifest import schema
from sdkit.training.config import preset
from tests.conftest import leave_out_pictures
from tests.export.runs import prove_here
from tests.tiny import TINY_64

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")
def test_python_lines_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)

    def tiny(name: str) -> dict[str, Any]:
        return {**(sections := preset(name)), "shared": {**sections["shared"], **TINY_64}}

    # The preset's layers would take most of the time, and no line says how wide they are.
    monkeypatch.setattr("sdkit.training.config.preset", tiny)
    leave_out_pictures(monkeypatch)
    prove_here(monkeypatch)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "codes.h5").is_file()
    assert names["clips"].shape == (16, 8, 3, 64, 64)  # type: ignore[attr-defined]


def test_every_command_is_in_the_table() -> None:
    result = CliRunner().invoke(app, ["--help"])
    commands = re.findall(r"^│ (\w+)  ", result.output, re.MULTILINE)
    assert len(commands) >= 12
    for command in commands:
        assert f"`sdkit {command}" in README, f"README's table lacks `sdkit {command}`"


def test_pictures_and_pages_exist() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} points to {link}"


def test_schema_is_the_manifests() -> None:
    assert json.loads((ROOT / "docs" / "manifest.schema.json").read_text("utf-8")) == json.loads(json.dumps(schema()))
