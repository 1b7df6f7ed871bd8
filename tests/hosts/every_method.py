"""Bundles of every method, and of two that use all of the contract: what each host must run without knowing any."""

from pathlib import Path
from typing import Any

from sdkit.export.proof.cases import sample, scale_of
from sdkit.methods import names
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Array
from sdkit.runtime.runtime import Runtime
from tests.hosts.golden import export, make_conformance
from tests.hosts.patchwork import installed

MODELS: dict[str, dict[str, Any]] = {name: {"method": name} for name in (*names(), "patchwork", "generator")}
"""Arguments of `lively_model` by name, all of images."""
COUNT = 3


def exported(folder: Path, name: str, **changes: Any) -> Bundle:
    """Export a tiny model of a name as ONNX."""
    with installed():
        return export(folder, {**MODELS[name], **changes}, "onnx")


def every_set(folder: Path) -> Path:
    """Write a conformance set of all of them, and return its folder."""
    with installed():
        return make_conformance(folder, torchscript=False, bundles=MODELS).parent


def clips(rt: Runtime, steps: int) -> Array:
    """Return three sequences (3, T, *element) of a bundle's element."""
    return sample(rt.element, COUNT, steps, 7, scale_of(rt.manifest))
