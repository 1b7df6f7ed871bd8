"""Optional dependencies: a missing one is told by the name of the extra that brings it."""

import importlib.util

from sdkit.runtime.errors import MissingExtraError


def need(extra: str, *modules: str, what: str) -> None:
    """Check that the modules of an extra are installed, without importing them.

    Raises:
        MissingExtraError: one is not.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{what} needs {', '.join(missing)}, not installed here; pip install 'sdkit[{extra}]'")
