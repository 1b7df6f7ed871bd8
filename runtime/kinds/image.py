"""Images: channels, height, width; uint8, or float32 in [0, 1], complete."""

from typing import Any

import numpy as np

from sdkit.runtime.errors import DataError
from sdkit.runtime.kinds.base import Array, DTypeName, Kind, Scale

COLOURS = (1, 3)
"""Numbers of channels of grey and of RGB images."""
BLOCK = 8
"""Side in pixels of the blocks that random images consist of."""


class Image(Kind):
    """Pictures of pixels."""

    name = "image"
    axes = ("C", "H", "W")
    plural = "images"
    standardised = False
    pictorial = True
    incomplete = False

    def drawable(self, shape: tuple[int, ...]) -> bool:
        """Return whether there are one or three channels."""
        return shape[0] in COLOURS

    def check(self, x: Array, where: str) -> None:
        """Check that float32 images are complete and in [0, 1]."""
        if x.dtype != np.float32:
            return
        if not np.isfinite(x).all():
            first = np.argwhere(~np.isfinite(x))[0].tolist()
            raise DataError(f"{where} holds NaN or infinite pixels, the first at {first}; images must be complete")
        low, high = float(x.min()), float(x.max())
        if low < 0.0 or high > 1.0:
            raise DataError(
                f"{where} holds pixels from {low:g} to {high:g}; float32 images lie in [0, 1], or store uint8"
            )

    def cast(self, x: Array, dtype: DTypeName) -> Array:
        """Return decoded pixels in the data set's dtype, clipped to its range; uint8 is rounded."""
        return super().cast(x, dtype) if dtype == "uint8" else np.clip(x, 0.0, 1.0).astype(np.float32)

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeName, scale: Scale | None = None
    ) -> Array:
        """Return blocks of one colour plus noise, so that convolutions and batch norms see more than noise."""
        coarse = rng.random(_blocks(shape))
        pixels = np.clip(_grown(coarse, shape) + 0.05 * rng.standard_normal(shape), 0, 1)
        return (pixels * 255).astype(np.uint8) if dtype == "uint8" else pixels.astype(np.float32)

    def filler(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeName, scale: Scale | None = None
    ) -> Array:
        """Return blocks of one colour, which gzip compresses about as well as drawings."""
        blocks = rng.random(_blocks(shape), np.float32)
        return np.ascontiguousarray(_grown((self.high(dtype) * blocks).astype(dtype), shape))

    def accepts(self, axes: int) -> bool:
        """Return whether an array holds images, or grey images without a channel axis."""
        return axes in (4, 5)

    def suggests(self, axes: int, dtype: np.dtype[Any], *, named: bool) -> bool:
        """Return whether an array has the axes of images, or those of grey images and their dtype."""
        return axes == 5 or (axes == 4 and dtype == np.uint8)

    def option(self, axes: int) -> str:
        """Return the option that reads an array as images."""
        return f"{'grey images' if axes == 4 else 'images'} (kind={self.name})"

    def stored(self, dtype: np.dtype[Any]) -> DTypeName:
        """Return uint8 for whole numbers."""
        return "uint8" if dtype.kind in "iu" else "float32"

    def arranged(self, x: Array) -> tuple[Array, str]:
        """Return images with a channel axis, before height and width."""
        if x.ndim == 4:
            return x[:, :, None], f"{x.shape} are taken as grey images (N, T, H, W)"
        if self.misordered(x.shape):
            return np.moveaxis(x, 4, 2), f"channels are last in {x.shape}; they are moved before height and width"
        return x, ""

    def misordered(self, shape: tuple[int, ...]) -> str:
        """Return that channels are last, where only that order would give images of one or three channels."""
        last = len(shape) == 5 and shape[2] not in COLOURS and shape[4] in COLOURS
        return "channels last; expected (N, T, C, H, W)" if last else ""


def _blocks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], -(-shape[-2] // BLOCK), -(-shape[-1] // BLOCK))


def _grown(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Return blocks enlarged to pixels, cut to a shape."""
    return np.asarray(blocks.repeat(BLOCK, -2).repeat(BLOCK, -1)[..., : shape[-2], : shape[-1]])


KIND = Image()
