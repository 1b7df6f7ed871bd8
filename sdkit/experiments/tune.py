"""`tune`: searches a method's settings and the learning rate on the validation split, with Optuna.

The method defines the space (for dbse that of appendix A.3). Trials are compared by one of
`OBJECTIVES`.
"""

import os
import time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sdkit.experiments.tuning.objectives import OBJECTIVES
from sdkit.experiments.tuning.result import Study
from sdkit.experiments.tuning.search import Search
from sdkit.experiments.tuning.storage import alone, folders, silent
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.extras import need
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import ANY_IMAGE, plan


def tune(
    data: str | Path,
    *,
    trials: int = 30,
    epochs: int | None = None,
    objective: str = "elbo",
    study: str | Path | None = None,
    timeout: float | None = None,
    method: str | None = None,
    preset: str | None = None,
    variant: str | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
    **overrides: Any,
) -> Study:
    """Search the settings of a data set on its validation split, or continue a search, and return the study.

    The first trial takes the settings that `train` would take, if they lie in the space. Each trial trains into a run
    folder of its own, which is removed. A continued study draws what an uninterrupted one would have drawn. Beside the
    study are a picture of the trials (.png) and the best settings (.toml).

    Args:
        data: sequence file.
        trials: number of trials in all, those of an existing study included; interrupted ones do not count.
        epochs: number of epochs of a trial; that of the settings when None.
        objective: one of `OBJECTIVES`.
        study: path of the study file, continued if it exists; runs/tune/NAME.db by default.
        timeout: minutes after which no further trial begins.
        method: name of the method, `dbse` by default.
        preset: preset to start from, as for `train`.
        variant: variant of the method; by default that of `train`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        reporter: receives the progress.
        **overrides: any setting of the method or of training, which is then not searched.

    Raises:
        ConfigError: an argument or setting out of range, no validation split, nothing to search, or settings that are
            not those of the study.
        DataError, FileFormatError, MissingFileError: data or a study that cannot be used.
        DeviceError: a device that is not available.
        MissingExtraError: Optuna is not installed.
        OutputExistsError: a new study's picture or settings would replace a file.
        KeyboardInterrupt: Ctrl-C before any trial of the study ended; later it ends the search, with `interrupted` set.

    >>> widths = {"static_size": 16, "dynamic_size": 16}
    >>> study = sdkit.tune("puppets.h5", trials=1, epochs=1, study="study.db", **widths)
    >>> len(study.trials), sorted(study.best.settings)
    (1, ['alpha', 'beta', 'learning_rate'])
    """
    need("tune", "optuna", what="sdkit tune")
    _check_arguments(trials, objective, timeout)
    # Settings do not depend on the data's shape: a wrong name is reported before any data are read.
    chosen = plan(ANY_IMAGE, method=method, preset_name=preset, variant=variant, overrides=overrides).method
    file = SequenceFile(data)
    variant = variant or chosen.default_variant(file.element)
    search = Search(file, chosen, objective, epochs, preset, variant, device, reporter or Quiet(), overrides)
    search.check()
    path = Path(study) if study else RUNS / "tune" / f"{search.name}.db"
    ends = None if timeout is None else time.monotonic() + 60 * timeout
    with folders(RUNS, *([] if study else [path.parent])), alone(path), silent():
        return search.run(path, trials, ends)


def _check_arguments(trials: int, objective: str, timeout: float | None) -> None:
    if objective not in OBJECTIVES:
        close = get_close_matches(objective, OBJECTIVES, n=1)
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        raise ConfigError(f"unknown objective '{objective}'{meant}; there are: {', '.join(OBJECTIVES)}")
    if trials < 1:
        raise ConfigError(f"trials = {trials}; it must be at least 1")
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout = {timeout} minutes; it must be positive")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("sdkit tune runs in one process; start it without accelerate launch or torchrun")
