"""The device of training, and the precisions that it runs fast."""

from typing import Any

import torch

from sdkit.runtime.device import parse_device
from sdkit.runtime.errors import DeviceError


def accelerator(device: str) -> Any:
    """Return an Accelerator on `auto`, `cpu` or `cuda[:N]`.

    Raises:
        ConfigError: another name.
        DeviceError: CUDA was asked for and is not available.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    kind, number = parse_device(device)
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(f"device {device} was asked for, but this PyTorch sees no CUDA device; use auto or cpu")
        torch.cuda.set_device(number)
    # Accelerate keeps one state a process; a second training in it may ask for another device.
    AcceleratorState._reset_state(reset_partial_state=True)
    # With this set, Accelerate also joins several processes on a machine without accelerators.
    none = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return Accelerator(cpu=kind == "cpu" or none)


def bf16_available(device: torch.device) -> bool:
    """Return whether bf16 convolutions run at the machine's full speed."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
