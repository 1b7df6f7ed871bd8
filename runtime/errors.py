"""Every error that sdkit raises on purpose: one line that says what is wrong, where, and what to do.

Each class is also the builtin that a caller would expect, so `except FileNotFoundError` works without importing ours.
The command line prints the message of a `SdkitError` in red and exits with 2; anything else is a bug of ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sdkit.runtime.text import one_line

_on_command_line = ContextVar("_on_command_line", default=False)


class SdkitError(Exception):
    """Base of all errors that a user can mend. Its text is one line, whatever names out of files it quotes."""

    def __str__(self) -> str:
        """Return the message, without control characters and of bounded length (`runtime.text`)."""
        return one_line(super().__str__())


class ConfigError(SdkitError, ValueError):
    """A setting, preset, variant or option that cannot be used."""


class CapabilityError(ConfigError):
    """A verb that the model does not have, or does not have online."""


class DivergenceError(ConfigError):
    """The loss of a training became infinite or not a number."""


class DataError(SdkitError, ValueError):
    """Sequences or codes that do not have the expected shape, dtype or values."""


class FileFormatError(DataError):
    """A file that is not what its reader expects."""


class MissingFileError(SdkitError, FileNotFoundError):
    """A file or folder that should be there and is not."""


class OutputExistsError(SdkitError, FileExistsError):
    """An output that exists already; nothing is overwritten unasked."""


class WriteError(SdkitError, OSError):
    """An output that cannot be written: no room, no permission, a limit on the size of files."""


class BusyError(ConfigError):
    """An output, run or study that another process is working on."""


class MissingExtraError(SdkitError, ImportError):
    """An optional dependency that is not installed."""


class DeviceError(SdkitError, RuntimeError):
    """A device that was asked for and cannot be had."""


class BundleError(SdkitError, ValueError):
    """A bundle that must not be used."""


class ManifestError(BundleError):
    """A manifest that does not parse, has unknown keys or was changed."""


class BundleVersionError(BundleError):
    """A bundle of a format version that this sdkit does not read."""


class BundlePathError(BundleError):
    """A manifest entry that points outside its bundle."""


class BundleFileError(BundleError, FileNotFoundError):
    """A file of the bundle that is missing."""


class DigestError(BundleError):
    """A file of the bundle whose bytes are not those that were exported."""


class ParityError(SdkitError, ArithmeticError):
    """Exported graphs that do not compute what the training model computes."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class where it has none."""
    return one_line(str(error).strip().split("\n")[0] or type(error).__name__)


@contextmanager
def command_line() -> Iterator[None]:
    """Let messages name options as the command line has them, until the block ends."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def option(name: str) -> str:
    """Return how a caller turns an option on: `--force` on the command line, `force=True` in Python."""
    return f"--{name}" if _on_command_line.get() else f"{name}=True"
