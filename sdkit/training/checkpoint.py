"""Weights and resumable state on disk, each file complete or absent. No class is ever pickled."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from sdkit.methods.base import Method
from sdkit.runtime.errors import FileFormatError, MissingFileError
from sdkit.runtime.storage.output import replacing
from sdkit.training.run import Run


def write_text(path: Path, text: str) -> None:
    """Replace a text file."""
    with replacing(path, force=True) as temporary:
        temporary.write_text(text, "utf-8")


def save_weights(run: Run, model: Method, name: str, epoch: int) -> dict[str, torch.Tensor]:
    """Write NAME.safetensors (`best` or `last`) and return the weights."""
    from safetensors.torch import save_file

    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(run.path / f"{name}.safetensors", force=True) as temporary:
        save_file(weights, temporary, metadata={"epoch": str(epoch)})
    return weights


def load_weights(run: Run, model: Method, name: Literal["best", "last"]) -> int:
    """Load NAME.safetensors (`best` or `last`) into a model, and return the epoch that it is of."""
    from safetensors import safe_open

    with safe_open(run.weights(name), "pt") as file:
        model.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  it is no mapping
        return int(file.metadata()["epoch"])


def save(run: Run, model: Method, optimizers: Mapping[str, Any], *, epoch: int, best: float, improved: bool) -> None:
    """Write last.safetensors, best.safetensors when improved, and state.pt."""
    weights = save_weights(run, model, "last", epoch)
    if improved or not (run.path / "best.safetensors").exists():
        save_weights(run, model, "best", epoch)
    states = {phase: optimizer.state_dict() for phase, optimizer in optimizers.items()}
    state = {"epoch": epoch, "best": best, "weights": weights, "optimizers": states}
    with replacing(run.path / "state.pt", force=True) as temporary:
        torch.save(state, temporary)


def load_state(run: Run, model: Method, optimizers: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Load the saved state into model and optimisers, by phase, and return it.

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
    # Runs of version 1 had a single optimiser.
    states = state.get("optimizers") or dict.fromkeys(optimizers, state["optimizer"])
    for phase, optimizer in optimizers.items():
        optimizer.load_state_dict(states[phase])
    return state


def commit() -> str:
    """Return the git commit of the working folder, or an empty text."""
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
