"""The device of training, and the precisions that it runs fast."""

import ctypes
import os
import sys
from typing import Any

import torch

from sdkit.runtime.device import parse_device
from sdkit.runtime.errors import ConfigError, DeviceError, first_line

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
COUNTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""Variables of the environment by which torchrun tells several processes of each other."""
LONGEST_NUMBER = 9
MEETING = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables that each of several processes has as well."""
LARGEST_ON_HEAP, NEVER = 32 << 20, 2**31 - 1
"""Bytes of an allocation up to which it is taken from the heap, the largest that glibc allows; and of a free top of the
heap that is given back."""


def accelerator(device: str) -> Any:
    """Return an Accelerator on `auto`, `cpu` or `cuda[:N]`.

    Raises:
        ConfigError: another name, or variables of several processes that say nothing.
        DeviceError: CUDA was asked for and is not available, or the processes cannot be joined.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    for name in COUNTED:
        given = os.environ.get(name, "0")
        if not given.isdecimal() or len(given) > LONGEST_NUMBER:
            raise ConfigError(f"{name}={given} is set, which is no number of processes; unset it")
    alone = [name for name in MEETING if not os.environ.get(name)]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and alone:
        raise ConfigError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} is set without {', '.join(alone)}: several processes are started "
            "by `torchrun` or `accelerate launch`; for one, unset it"
        )
    kind, number = parse_device(device)
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(f"device {device} was asked for, but this PyTorch sees no CUDA device; use auto or cpu")
        torch.cuda.set_device(number)
    # Accelerate keeps one state a process; a second training in it may ask for another device.
    AcceleratorState._reset_state(reset_partial_state=True)
    # With this set, Accelerate also joins several processes on a machine without accelerators.
    none = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    try:
        return Accelerator(cpu=kind == "cpu" or none)
    except (ValueError, RuntimeError, LookupError) as error:
        AcceleratorState._reset_state(reset_partial_state=True)
        raise DeviceError(f"training cannot begin on device {device}: {first_line(error)}") from error


def keep_freed_memory() -> None:
    """Let glibc's allocator keep what a training step frees, for the next step; nothing happens on other systems.

    By default it may return the memory of the activations to the system after each step, whose pages the next step
    then touches one by one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
        mallopt(M_TRIM_THRESHOLD, NEVER)


def bf16_available(device: torch.device) -> bool:
    """Return whether bf16 convolutions run at the machine's full speed."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
