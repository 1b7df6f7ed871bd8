"""sdkit splits sequences into one static code and a dynamic code a step, and ships the learned split anywhere.

This package learns (PyTorch); `sdkit.export` writes graphs, `sdkit.runtime` serves them without PyTorch, `sdkit.cli`
is the command line. Each of its commands is one call of a function here; each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdkit.runtime.version import __version__ as __version__

if TYPE_CHECKING:
    from sdkit.data import make_dataset as make_dataset
    from sdkit.evaluation.evaluate import evaluate as evaluate
    from sdkit.experiments.compare import compare as compare
    from sdkit.experiments.reproduce import reproduce as reproduce
    from sdkit.experiments.tune import tune as tune
    from sdkit.export.bundle import export_bundle as export_bundle
    from sdkit.export.proof.verification import verify as verify
    from sdkit.figures.render import render as render
    from sdkit.figures.render import render_swap as render_swap
    from sdkit.health import doctor as doctor
    from sdkit.runtime.bundles.bundle import Bundle as Bundle
    from sdkit.runtime.runtime import Runtime as Runtime
    from sdkit.runtime.storage.sequences import SequenceFile as SequenceFile
    from sdkit.training.run import Run as Run
    from sdkit.training.run import find_run as find_run
    from sdkit.training.train import train as train

_PUBLIC = {
    "Bundle": "sdkit.runtime.bundles.bundle",
    "Run": "sdkit.training.run",
    "Runtime": "sdkit.runtime.runtime",
    "SequenceFile": "sdkit.runtime.storage.sequences",
    "compare": "sdkit.experiments.compare",
    "doctor": "sdkit.health",
    "evaluate": "sdkit.evaluation.evaluate",
    "export_bundle": "sdkit.export.bundle",
    "find_run": "sdkit.training.run",
    "make_dataset": "sdkit.data",
    "render": "sdkit.figures.render",
    "render_swap": "sdkit.figures.render",
    "reproduce": "sdkit.experiments.reproduce",
    "train": "sdkit.training.train",
    "tune": "sdkit.experiments.tune",
    "verify": "sdkit.export.proof.verification",
}
_NEEDS = {
    "compare": ("torch", "accelerate", "safetensors", "matplotlib", "sklearn"),
    "evaluate": ("torch", "accelerate", "safetensors", "matplotlib", "sklearn"),
    "reproduce": ("torch", "accelerate", "safetensors", "matplotlib", "sklearn"),
    "train": ("torch", "accelerate", "safetensors", "matplotlib"),
    "tune": ("torch", "accelerate", "safetensors", "matplotlib"),
    "export_bundle": ("torch", "safetensors", "onnx"),
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module sdkit has no attribute {name}")
    if name in _NEEDS:
        from sdkit.runtime.extras import need

        need("train", *_NEEDS[name], what=f"sdkit.{name}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
