"""Devices by name, the same names for every back end and for training."""

import os

from sdkit.runtime.errors import ConfigError


def parse_device(device: str) -> tuple[str, int]:
    """Return kind and number of `auto`, `cpu`, `cuda` or `cuda:N`; the number is 0 where none is given.

    Raises:
        ConfigError: another name.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError(f"unknown device '{device}'; choose auto, cpu, cuda or cuda:N")
    return kind, int(number or 0)


def usable_processors() -> int:
    """Return how many processors this process may use, which in a container is fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
