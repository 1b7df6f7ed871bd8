"""Writes a trained model as a bundle of graphs and proves them equal to it.

May import: `sdkit` (learn) and `sdkit.runtime`; PyTorch and onnx inside the functions that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdkit.export.bundle import export_bundle as export_bundle
    from sdkit.export.hosts.triton import write_triton as write_triton
    from sdkit.export.hosts.web import write_page as write_page
    from sdkit.export.proof.parity import Report as Report
    from sdkit.export.proof.verification import verify as verify

_PUBLIC = {
    "Report": "proof.parity",
    "export_bundle": "bundle",
    "verify": "proof.verification",
    "write_page": "hosts.web",
    "write_triton": "hosts.triton",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
