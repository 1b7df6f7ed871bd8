"""A stage of long work, which ends for the reporter on success and on failure."""

from collections.abc import Iterator
from contextlib import contextmanager

from sdkit.runtime.progress import Quiet, Reporter


@contextmanager
def stage(reporter: Reporter | None, what: str, total: int) -> Iterator[Reporter]:
    """Yield a reporter within a stage of `total` units of work, which ends on success and on failure."""
    reporter = reporter or Quiet()
    reporter.start(what, total)
    try:
        yield reporter
    finally:
        reporter.finish()
