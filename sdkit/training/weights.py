"""Weights on disk: the one place that reads and writes safetensors files and puts their tensors into a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdkit.methods.base import Method
from sdkit.runtime.errors import FileFormatError, first_line


def write_weights(path: Path, weights: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, as any other file is written: with the user's permissions, and errors of the system."""
    from safetensors.torch import save

    path.write_bytes(save(dict(weights), metadata))


def read_weights(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file, by name.

    Raises:
        FileFormatError: it is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Bytes, as the library takes no path that is not UTF-8.
        found: dict[str, torch.Tensor] = load(path.read_bytes())
        return {name: tensor.to(device) for name, tensor in found.items()}
    except (SafetensorError, ValueError, RuntimeError, TypeError, LookupError, OverflowError, AttributeError) as error:
        raise FileFormatError(
            f"{path} cannot be read: {first_line(error)}; it is damaged or no file of weights"
        ) from error


def read_epoch(path: Path) -> int:
    """Return the epoch that a safetensors file of a run says it is of; 0 where it does not say.

    Raises:
        FileFormatError: it is no safetensors file.
    """
    content = path.read_bytes()
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return int(header.get("__metadata__", {}).get("epoch", 0))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{path} cannot be read: {first_line(error)}; it is no file of weights") from error


def fill(model: nn.Module, weights: Any, where: str) -> None:
    """Put weights into a model.

    Args:
        model: the model.
        weights: its tensors, by name.
        where: the file that they are from, for messages.

    Raises:
        FileFormatError: names, shapes or dtypes are not the model's, or a value is not finite.
    """
    adapt(model, weights)
    check(dict(model.state_dict()), weights, where)
    model.load_state_dict(weights)


def adapt(model: nn.Module, weights: Any) -> None:
    """Let a method give parts whose size depends on the data the size that they have in its weights."""
    if isinstance(model, Method) and isinstance(weights, dict):
        model.adapt({name: tuple(value.shape) for name, value in weights.items() if _plain(value)})


def check(wanted: Mapping[str, torch.Tensor], found: Any, where: str) -> None:
    """Check tensors against those of a model: names, shapes, dtypes, and that every value is finite.

    Raises:
        FileFormatError: they differ.
    """
    wanted = {name: tensor for name, tensor in wanted.items() if tensor.numel()}  # what is empty need not be there
    if isinstance(found, dict):
        found = {name: value for name, value in found.items() if not (_plain(value) and not value.numel())}
    if not isinstance(found, dict) or set(found) != set(wanted):
        differing = sorted(map(str, set(found if isinstance(found, dict) else ()) ^ set(wanted)))
        raise FileFormatError(
            f"{where} does not hold the weights of this model: {len(differing)} names differ, the first: {differing[0]}"
            if differing
            else f"{where} holds no weights"
        )
    for name, tensor in wanted.items():
        given = found[name]
        if not _plain(given) or given.shape != tensor.shape or given.dtype != tensor.dtype:
            told = f"{tuple(given.shape)} {given.dtype}" if isinstance(given, torch.Tensor) else type(given).__name__
            raise FileFormatError(f"{where} has {name} as {told}; this model's is {tuple(tensor.shape)} {tensor.dtype}")
        if given.is_floating_point() and not torch.isfinite(given).all():
            raise FileFormatError(
                f"{where}: {name} has values that are not finite (NaN or infinite); the file is damaged, or the "
                "training diverged"
            )


def _plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized
