"""`doctor`: what this installation can do, and what prevents the rest."""

import contextlib
import importlib.util
import io
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Literal

from sdkit.runtime.device import usable_processors

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """Result of one check of the installation."""

    subject: str
    status: Status
    text: str


def doctor() -> list[Finding]:
    """Check Python, the packages of every extra, ONNX Runtime's providers and PyTorch's devices.

    >>> {finding.status for finding in sdkit.doctor()} <= {"ok", "note", "problem"}
    True
    """
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    findings.append(Finding("processors", "ok", f"{usable_processors()} usable of {os.cpu_count()}"))
    findings += [_package(name, extra) for name, extra in _PACKAGES]
    findings += [*_onnxruntime(), *_torch()]
    return findings


_PACKAGES = (
    ("numpy", ""),
    ("h5py", ""),
    ("hdf5plugin", ""),
    ("torch", "train"),
    ("accelerate", "train"),
    ("safetensors", "train"),
    ("onnx", "train"),
    ("matplotlib", "train"),
    ("scikit-learn", "train"),
    ("soundfile", "audio"),
    ("opencv-python-headless", "video"),
    ("optuna", "tune"),
)


def _package(name: str, extra: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(
            name, "note" if extra else "problem", f"not installed; pip install 'sdkit{f'[{extra}]' if extra else ''}'"
        )


def _onnxruntime() -> list[Finding]:
    owners = sorted({d.name for d in distributions() if d.name.startswith("onnxruntime") and _owns_folder(d.files)})
    if not owners:
        return [Finding("onnxruntime", "problem", "not installed; pip install 'sdkit[cpu]', or 'sdkit[gpu]' for CUDA")]
    findings = [Finding(name, "ok", version(name)) for name in owners]
    if len(owners) > 1:
        both = " and ".join(owners)
        mend = f"pip uninstall {' '.join(owners)}, then install one of them again"
        findings.append(Finding("onnxruntime", "problem", f"{both} write the same folder and break each other; {mend}"))
        return findings
    try:
        import onnxruntime
    except Exception as error:  # a broken wheel may raise anything
        return [*findings, Finding("onnxruntime", "problem", f"cannot be imported: {error}")]
    providers = onnxruntime.get_available_providers()
    findings.append(Finding("providers", "ok", ", ".join(p.removesuffix("ExecutionProvider") for p in providers)))
    if "CUDAExecutionProvider" in providers:
        findings.append(_cuda_libraries(onnxruntime))
    return findings


def _owns_folder(files: object) -> bool:
    return any(str(file).startswith("onnxruntime/__init__") for file in files or ())  # type: ignore[attr-defined]


def _cuda_libraries(onnxruntime: object) -> Finding:
    # ONNX Runtime prints what it cannot load, and raises no error.
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        onnxruntime.preload_dlls()  # type: ignore[attr-defined]
    lines = [line for line in printed.getvalue().splitlines() if "ailed" in line]
    if lines:
        return Finding("CUDA libraries", "problem", f"{lines[0]}; pip install 'onnxruntime-gpu[cuda,cudnn]'")
    return Finding("CUDA libraries", "ok", "found")


def _torch() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    sys.stdout.flush()
    if not torch.cuda.is_available():
        bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return [Finding("training device", "ok", f"cpu, bf16 {'on' if bf16 else 'off: no instructions for it'}")]
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [Finding("training device", "ok", ", ".join(f"cuda:{i} {name}" for i, name in enumerate(names)))]
