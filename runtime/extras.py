"""Optional dependencies: the error for a missing one names the extra that installs it."""

import importlib.util

from sdkit.runtime.errors import MissingExtraError


def need(extra: str, *modules: str, what: str) -> None:
    """Check that the modules of an extra are installed, without importing them.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{what} needs {', '.join(missing)}, not installed here; pip install 'sdkit[{extra}]'")
