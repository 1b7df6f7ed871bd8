"""A reporter for tests of what long work says."""

from sdkit.runtime.progress import Quiet


class Notes(Quiet):
    """Keeps the lines that stay."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)
