"""The codes of a batch of sequences: what encode returns and decode takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Codes:
    """The split of a batch of sequences."""

    static: Floats
    """Static codes (B, S)."""
    dynamic: Floats
    """Dynamic codes (B, T, D)."""

    def __len__(self) -> int:
        return len(self.static)

    def __getitem__(self, index: Any) -> "Codes":
        return Codes(self.static[index], self.dynamic[index])

    @staticmethod
    def join(parts: "list[Codes]") -> "Codes":
        """Return the codes of several batches as one."""
        return Codes(joined([p.static for p in parts]), joined([p.dynamic for p in parts]))


def joined(parts: list[Floats]) -> Floats:
    """Return arrays joined along their first axis; a single one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
