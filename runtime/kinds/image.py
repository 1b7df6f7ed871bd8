"""Images: channels, height, width."""

from sdkit.runtime.kinds.base import Kind

KIND = Kind("image", ("C", "H", "W"), standardised=False, pictorial=True, incomplete=False)
