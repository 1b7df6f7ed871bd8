"""Serves a bundle: encode, decode, reconstruct, swap, generate over arrays and HDF5 files, without PyTorch.

May import: nothing of ours; numpy, h5py, msgspec at module level, onnxruntime when graphs are run. It owns the formats
of bundles and HDF5 files, which the other folders read and write through it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdkit.runtime.bundles.bundle import Bundle as Bundle
    from sdkit.runtime.codes import Codes as Codes
    from sdkit.runtime.element import Element as Element
    from sdkit.runtime.errors import SdkitError as SdkitError
    from sdkit.runtime.runtime import Runtime as Runtime
    from sdkit.runtime.storage.code_file import CodeFile as CodeFile
    from sdkit.runtime.storage.sequences import Factor as Factor
    from sdkit.runtime.storage.sequences import SequenceFile as SequenceFile
    from sdkit.runtime.storage.sequences import SequenceMeta as SequenceMeta
    from sdkit.runtime.storage.sequences import SequenceWriter as SequenceWriter

_PUBLIC = {
    "Bundle": "bundles.bundle",
    "CodeFile": "storage.code_file",
    "Codes": "codes",
    "Element": "element",
    "Factor": "storage.sequences",
    "Runtime": "runtime",
    "SdkitError": "errors",
    "SequenceFile": "storage.sequences",
    "SequenceMeta": "storage.sequences",
    "SequenceWriter": "storage.sequences",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
