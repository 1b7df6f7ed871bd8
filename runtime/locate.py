"""Default runs and bundles: the newest run under runs/, and its bundle."""

import os
from pathlib import Path

from sdkit.runtime.errors import MissingFileError

RUNS = Path("runs")
RUN_FILE, BUNDLE_FILE = "config.json", "manifest.json"


def find_run_folder(given: str | Path | None = None) -> Path:
    """Return a run's folder: the one given (a path or a name under runs/), else SDKIT_RUN, else the newest.

    Raises:
        MissingFileError: there is none.
    """
    given = given or os.environ.get("SDKIT_RUN") or None
    if given is not None:
        for path in (Path(given), RUNS / given):
            if (path / RUN_FILE).is_file():
                return path
        raise MissingFileError(f"{given} is not a run: it holds no {RUN_FILE}; `sdkit train` makes one under {RUNS}/")
    found = sorted(RUNS.glob(f"*/{RUN_FILE}"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise MissingFileError(f"there is no run under {RUNS.absolute()}; `sdkit train` makes one")
    return found[-1].parent


def find_bundle_folder(given: str | Path | None = None) -> Path:
    """Return a bundle's folder: the one given (or the bundle of a run given), else SDKIT_BUNDLE, else the newest run's.

    Raises:
        MissingFileError: there is none.
    """
    given = given or os.environ.get("SDKIT_BUNDLE") or None
    if given is not None:
        for path in (Path(given), Path(given) / "bundle", RUNS / given / "bundle"):
            if (path / BUNDLE_FILE).is_file():
                return path
        raise MissingFileError(f"{given} is not a bundle: it holds no {BUNDLE_FILE}; `sdkit export` makes one")
    try:
        run = find_run_folder()
    except MissingFileError as error:
        raise MissingFileError(f"no bundle was given and {error}, then `sdkit export` its bundle") from error
    if not (run / "bundle" / BUNDLE_FILE).is_file():
        raise MissingFileError(f"the run {run} has no bundle yet; `sdkit export` makes it")
    return run / "bundle"
