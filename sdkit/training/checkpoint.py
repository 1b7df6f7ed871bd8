"""Weights and resumable state on disk, each file complete or absent. No class is ever pickled."""

import io
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from sdkit.methods.base import Method
from sdkit.runtime.errors import FileFormatError, MissingFileError, first_line
from sdkit.runtime.storage.output import replacing
from sdkit.training.run import STATE, Run
from sdkit.training.weights import adapt, check, fill, read_epoch, read_weights, write_weights


def write_text(path: Path, text: str) -> None:
    """Replace a text file."""
    with replacing(path, force=True) as temporary:
        temporary.write_text(text, "utf-8")


def save_weights(run: Run, model: Method, name: str, epoch: int) -> dict[str, torch.Tensor]:
    """Write NAME.safetensors (`best` or `last`) and return the weights."""
    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(run.path / f"{name}.safetensors", force=True) as temporary:
        write_weights(temporary, weights, {"epoch": str(epoch)})
    return weights


def load_weights(run: Run, model: Method, name: Literal["best", "last"]) -> int:
    """Load NAME.safetensors (`best` or `last`) into a model, and return the epoch that it is of.

    Raises:
        FileFormatError: weights that are damaged, of another model, or not finite.
    """
    file = run.weights(name)
    fill(model, read_weights(file), str(file))
    return read_epoch(file)


def save(run: Run, model: Method, optimizers: Mapping[str, Any], *, epoch: int, best: float, improved: bool) -> None:
    """Write last.safetensors, best.safetensors when improved, and state.pt."""
    weights = save_weights(run, model, "last", epoch)
    if improved or not (run.path / "best.safetensors").exists():
        save_weights(run, model, "best", epoch)
    states = {phase: optimizer.state_dict() for phase, optimizer in optimizers.items()}
    state = {"epoch": epoch, "best": best, "weights": weights, "optimizers": states}
    stream = io.BytesIO()  # of a disk that is full PyTorch says nothing that tells why
    torch.save(state, stream)
    with replacing(run.path / STATE, force=True) as temporary:
        temporary.write_bytes(stream.getbuffer())


def load_state(run: Run, model: Method, optimizers: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Load the saved state into model and optimisers, by phase, and return it.

    Raises:
        MissingFileError: there is none.
        FileFormatError: it cannot be read, or is not the state of this model.
    """
    file = run.path / STATE
    if not file.is_file():
        raise MissingFileError(f"{file} does not exist: there is no complete epoch to resume from")
    try:
        _check_archive(file)
        with file.open("rb") as stream:
            state: dict[str, Any] = torch.load(stream, map_location=device, weights_only=True)
    except FileFormatError:
        raise
    except Exception as error:  # PyTorch's own errors share no base but Exception
        raise FileFormatError(f"{file} cannot be read: {first_line(error)}") from error
    return _restored(state, model, optimizers, str(file))


def _check_archive(file: Path) -> None:
    """Check that a file is a zip that unpacks to no more than it has, as `torch.save` writes it."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
    if size > file.stat().st_size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise FileFormatError(f"{file} cannot be read: its parts are compressed or overlap, which no saved state's are")


def _restored(state: Any, model: Method, optimizers: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Put a state into model and optimisers after a check of all of its parts."""
    problem = FileFormatError(f"{where} is not the state of this run's training")
    if not isinstance(state, dict) or type(state.get("epoch")) is not int or state["epoch"] < 1:
        raise problem
    if not isinstance(state.get("best"), float):
        raise problem
    adapt(model, state.get("weights"))
    check(dict(model.state_dict()), state.get("weights"), where)
    # Runs of version 1 had a single optimiser.
    states = state.get("optimizers") or dict.fromkeys(optimizers, state.get("optimizer"))
    if not isinstance(states, dict) or set(states) != set(optimizers):
        raise problem
    for phase, optimizer in optimizers.items():
        if not _fits(states[phase], optimizer):
            raise problem
    try:
        model.load_state_dict(state["weights"])
        for phase, optimizer in optimizers.items():
            optimizer.load_state_dict(states[phase])
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise FileFormatError(f"{where} is not the state of this run's training: {first_line(error)}") from error
    return state


def _fits(state: Any, optimizer: Any) -> bool:
    """Return whether a state is one of an optimiser: finite moments of the shapes of its parameters, or scalars."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = state.get("state") if isinstance(state, dict) else None
    groups = state.get("param_groups") if isinstance(state, dict) else None
    if not isinstance(moments, dict) or not isinstance(groups, list) or len(groups) != len(optimizer.param_groups):
        return False
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        if not isinstance(group, dict) or not isinstance(group.get("params"), list):
            return False
        if any(type(group.get(name, value)) is not type(value) for name, value in own.items()):
            return False
    for number, values in moments.items():
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(values, dict):
            return False
        shape = parameters[number].shape
        for value in values.values():
            if isinstance(value, torch.Tensor) and not (
                value.shape in (shape, ()) and bool(torch.isfinite(value).all())
            ):
                return False
    return True


def commit() -> str:
    """Return the git commit of the working folder, or an empty text."""
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
