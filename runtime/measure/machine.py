"""The machine of a measurement: processor, memory, versions; and the peak memory of this process."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdkit.runtime.device import usable_processors
from sdkit.runtime.version import __version__

MIB = 1 << 20


def describe_machine(*packages: str) -> dict[str, Any]:
    """Return the machine as plain values for JSON.

    Args:
        packages: distributions whose versions to add to those of numpy, h5py and onnxruntime; absent ones are left out.

    Returns:
        `processor`, `processors` (that this process may use), `memory_gib`, `system`, `load` (the average of the last
        minute: well above 0 means that other work ran, too) and `versions`; None for what cannot be found out.
    """
    names = ("numpy", "h5py", "onnxruntime", "onnxruntime-gpu", *packages)
    return {
        "processor": _processor(),
        "processors": usable_processors(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {"sdkit": __version__, "python": platform.python_version(), **_versions(names)},
    }


def peak_memory() -> float | None:
    """Return the most MiB of RAM that this process has held so far, or None where the system does not report it."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux that counts from the process that started this one.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1)
    except (AttributeError, ValueError, OSError):
        return None


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
