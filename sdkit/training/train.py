"""`train`: one call from a data set to a trained run."""

from pathlib import Path
from typing import Any

from sdkit.data import make_dataset
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import ANY_IMAGE, check_preset, plan, preset_kind, presets
from sdkit.training.launch import resume as resume_run
from sdkit.training.launch import start
from sdkit.training.run import Run, find_run

BUILT_IN = "puppets"


def train(
    data: str | Path | None = None,
    *,
    method: str | None = None,
    preset: str | None = None,
    variant: str | None = None,
    name: str | None = None,
    device: str = "auto",
    resume: bool | str | Path = False,
    reporter: Reporter | None = None,
    **overrides: Any,
) -> Run:
    """Train a model and return its run, a folder under runs/.

    Args:
        data: sequence file; the built-in puppets when None, made on first use.
        method: name of the method, `dbse` by default; `sdkit.methods.names()` lists them.
        preset: preset to start from; when None, that of the data set's name or of its kind of element, if there is one.
        variant: one of the method's, for dbse `paper` (the printed model), `release` (the published code's) or `filter`
            (the latter with codes that depend on no later element); the method's own choice when None.
        name: name of the run; the data set's by default, with a number when it is taken.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        resume: continue the newest run (True) or a given one; of the settings only `epochs` may change.
        reporter: receives progress and notes.
        **overrides: any setting of the method or of training, such as `epochs=4, beta=0.1`.

    Raises:
        ConfigError: an unknown preset, variant or setting, a preset for another kind of elements, or a value out of
            range.
        DataError, FileFormatError, MissingFileError: data that cannot be used.
        DeviceError: a device that is not available.

    >>> run = sdkit.train("puppets.h5", name="first", epochs=1, static_size=16, dynamic_size=16)
    >>> run.path.as_posix(), run.config.method
    ('runs/first', 'dbse')
    >>> sdkit.train("puppets.h5", method="dsvae", variant="factorised", name="second", epochs=1).name
    'second'
    """
    reporter = reporter or Quiet()
    if resume:
        others = [key for key in overrides if key != "epochs"]
        given = {"method": method, "preset": preset, "variant": variant, "name": name}
        others += [key for key, value in given.items() if value]
        if others:
            raise ConfigError(f"a resumed run keeps its settings; only epochs may change, not {', '.join(others)}")
        run = find_run(None if resume is True else resume)
        path = None if data is None else Path(data)
        return resume_run(run, overrides.get("epochs"), data=path, device=device, reporter=reporter)
    # Settings do not depend on the data's shape: a wrong name is reported before any data are made or read.
    plan(ANY_IMAGE, method=method, preset_name=preset, variant=variant, overrides=overrides)
    file = SequenceFile(built_in(reporter) if data is None else data)
    if preset:
        check_preset(preset, file.element, str(file.path))
    chosen = preset or default_preset(file)
    found = plan(file.element, method=method, preset_name=chosen, variant=variant, overrides=overrides)
    return start(file, found, name=name, preset=chosen or "", device=device, reporter=reporter)


def default_preset(file: SequenceFile) -> str | None:
    """Return the preset named after the data set, else after its kind of element, else None; one of this kind."""
    kind = file.element.kind
    return next((name for name in (file.meta.name, kind) if name in presets() and preset_kind(name) == kind), None)


def built_in(reporter: Reporter) -> Path:
    """Return the built-in data set, made under runs/ on first use."""
    path = RUNS / "data" / f"{BUILT_IN}.h5"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make_dataset(BUILT_IN, path, reporter=reporter)
    return path
