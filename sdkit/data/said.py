"""Statements of a user about data: name, origin and licence, which stand in place of the maker's own words."""

from dataclasses import dataclass, fields, replace

from sdkit.data.reading import shown
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.storage.sequences import SequenceMeta

UNKNOWN = "unknown: see the data's own licence"
"""Licence of data of which nothing states one."""


@dataclass(frozen=True)
class Said:
    """Words of the user about the data; an empty text leaves the maker's own.

    Args:
        name: name of the data set; training takes the preset of this name.
        origin: where the data come from, stored as the file's `source`.
        licence: licence of the data.

    Raises:
        ConfigError: a text of several lines, or with control characters.
    """

    name: str = ""
    origin: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            text = getattr(self, field.name)
            if not text.isprintable():
                raise ConfigError(f"{field.name} = {text!r}; expected one line without control characters")

    def of(self, meta: SequenceMeta) -> SequenceMeta:
        """Return a description in which these words stand in place of its own."""
        return replace(
            meta,
            name=self.name or meta.name,
            source=self.origin or shown(meta.source, 1000),
            licence=self.licence or shown(meta.licence, 1000),
        )


NOTHING = Said()
WORDS = tuple(field.name for field in fields(Said))
"""Options of every maker that are words."""
