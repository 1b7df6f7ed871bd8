"""What every method keeps when it is exported, on every kind of element."""

import itertools
from pathlib import Path
from typing import Literal

import pytest

from sdkit import methods
from sdkit.export.proof.cases import SIZES
from sdkit.methods.graphs import verbs
from sdkit.runtime.runtime import Runtime
from tests.export.runs import FEW, lively_model, quick_export, write_run
from tests.sdkit.methods.elements import ELEMENTS

STEPS = 5
Format = Literal["onnx", "all"]


def format_of(method: str, kind: str) -> Format:
    """Return `all` for one kind of each method, in turn, which is proven at every size, and `onnx` for the others.

    TorchScript graphs are traced or compiled from the same modules as ONNX graphs, and of a kind only encoder and
    decoder know; each kind has its turn with every fourth method.
    """
    turn = methods.names().index(method) % len(ELEMENTS)
    return "all" if kind == list(ELEMENTS)[turn] else "onnx"


@pytest.mark.parametrize(("method", "kind"), list(itertools.product(methods.names(), ELEMENTS)))
def test_export_is_proven(method: str, kind: str, tmp_path: Path) -> None:
    model = lively_model(method=method, element=ELEMENTS[kind])
    wanted = format_of(method, kind)
    sizes = SIZES if wanted == "all" else FEW
    bundle = quick_export(write_run(tmp_path / "run", model, steps=STEPS), sizes=sizes, format=wanted)
    manifest = bundle.manifest
    assert manifest.formats == (("onnx", "torchscript") if wanted == "all" else ("onnx",))
    assert (manifest.method, manifest.version) == (method, 2)
    assert manifest.capabilities == model.abilities.verbs
    assert manifest.refusals == dict(model.abilities.refusals)
    assert manifest.max_steps == model.max_steps
    run = Runtime.open(bundle.path, device="cpu", threads=1)
    assert run.abilities == verbs(model).abilities
    assert set(run.backend.ports) == set(model.graphs())
