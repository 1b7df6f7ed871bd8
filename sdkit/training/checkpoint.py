"""Weights and resumable state on disk, each file whole or absent. No class is ever pickled."""

import subprocess
from pathlib import Path
from typing import Any

import torch

from sdkit.models.model import SplitModel
from sdkit.runtime.errors import FileFormatError, MissingFileError
from sdkit.runtime.output import replacing
from sdkit.training.run import Run


def write_text(path: Path, text: str) -> None:
    """Replace a text file."""
    with replacing(path, force=True) as temporary:
        temporary.write_text(text, "utf-8")


def save(run: Run, model: SplitModel, optimizer: Any, *, epoch: int, best: float, improved: bool) -> None:
    """Write last.safetensors, best.safetensors when improved, and state.pt."""
    from safetensors.torch import save_file

    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    names = ["last", "best"] if improved or not (run.path / "best.safetensors").exists() else ["last"]
    for name in names:
        with replacing(run.path / f"{name}.safetensors", force=True) as temporary:
            save_file(weights, temporary, metadata={"epoch": str(epoch)})
    state = {"epoch": epoch, "best": best, "weights": weights, "optimizer": optimizer.state_dict()}
    with replacing(run.path / "state.pt", force=True) as temporary:
        torch.save(state, temporary)


def load_state(run: Run, model: SplitModel, optimizer: Any, device: torch.device) -> dict[str, Any]:
    """Put the saved state into model and optimiser; return it.

    Raises:
        MissingFileError: there is none.
        FileFormatError: it cannot be read.
    """
    file = run.path / "state.pt"
    if not file.is_file():
        raise MissingFileError(f"{file} does not exist: there is no complete epoch to resume from")
    try:
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:
        raise FileFormatError(f"{file} cannot be read: {error}") from error
    model.load_state_dict(state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    return state


def commit() -> str:
    """Return the git commit of the working folder, or nothing."""
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
