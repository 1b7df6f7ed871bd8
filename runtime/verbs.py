"""The verbs: encode, decode, reconstruct, swap, generate, resample_static, resample_dynamic, and live streams.

Written once over a `Backend`, so that they mean the same on exported graphs and on the training model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.backend import Backend, chain
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.manifest import Letters
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.stream import UNKNOWN, Online, Stream

Floats = NDArray[np.float32]
BATCH_SIZE = 64


@dataclass(frozen=True)
class Codes:
    """The split of a batch of sequences."""

    static: Floats
    """(B, S)."""
    dynamic: Floats
    """(B, T, D)."""

    def __len__(self) -> int:
        return len(self.static)

    def __getitem__(self, index: Any) -> "Codes":
        return Codes(self.static[index], self.dynamic[index])

    @staticmethod
    def join(parts: "list[Codes]") -> "Codes":
        """Return the codes of several batches as one."""
        return Codes(_joined([p.static for p in parts]), _joined([p.dynamic for p in parts]))


class Verbs:
    """The same verbs on whatever runs the graphs. numpy in, numpy out.

    Sequences are (B, T, *element) in the data set's dtype and units; decoded sequences are float32 in the same units
    (`element.cast` turns them into the data set's dtype). Codes are means unless a seed asks for samples. Any B is
    fine: work is cut into batches of `batch_size`.
    """

    def __init__(
        self,
        backend: Backend,
        element: Element,
        letters: Letters,
        *,
        online: Online = UNKNOWN,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size = {batch_size}; it must be at least 1")
        self.backend, self.element, self.letters, self.batch_size = backend, element, letters, batch_size
        self.online = online

    @property
    def device(self) -> str:
        """Where the graphs really run: `cpu` or `cuda:N`."""
        return self.backend.device

    def encode(self, x: Array, *, seed: int | None = None, first: int = 0) -> Codes:
        """Return the codes of sequences.

        Args:
            x: (B, T, *element), T >= 2.
            seed: draw codes from the posterior instead of taking its means.
            first: number of the first sequence, which selects its noise (`runtime.noise`).

        Raises:
            DataError: x is not a batch of this element.
        """
        self.element.check(x)
        return Codes.join([self._encode(x[part], seed, first + part.start) for part in self._parts(len(x))])

    def decode(self, codes: Codes) -> Floats:
        """Return the sequences of codes, (B, T, *element) float32 in data units.

        Raises:
            DataError: codes of other widths, or of different B.
        """
        self._check_codes(codes)
        return _joined([self._decode(codes[part]) for part in self._parts(len(codes))])

    def decode_outputs(self, codes: Codes) -> dict[str, Floats]:
        """Return everything that the decoder says of codes: `x`, and `x_std` of series, both (B, T, *element).

        Raises:
            DataError: codes of other widths, or of different B.
        """
        self._check_codes(codes)
        parts = [self._outputs(codes[part]) for part in self._parts(len(codes))]
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}

    def reconstruct(self, x: Array) -> Floats:
        """Return decode(encode(x))."""
        return self._each(x, lambda codes, first: codes)

    def swap(self, a: Array, b: Array) -> tuple[Floats, Floats]:
        """Return a's static code with b's dynamic codes, and b's static code with a's dynamic codes.

        Args:
            a: (B, T, *element).
            b: (B, T', *element); T' may differ from T. Sequences are paired by position.

        Raises:
            DataError: different B, or not batches of this element.
        """
        if len(a) != len(b):
            raise DataError(f"swap pairs sequences one to one; a has {len(a)} and b has {len(b)}")
        ca, cb = self.encode(a), self.encode(b)
        return self.decode(Codes(ca.static, cb.dynamic)), self.decode(Codes(cb.static, ca.dynamic))

    def generate(self, count: int, steps: int = 8, *, seed: int = 0, first: int = 0) -> Floats:
        """Return sequences whose static and dynamic codes are drawn from the prior.

        Args:
            count: B.
            steps: T >= 2.
            seed: of the noise; the same seed gives the same sequences in every host.
            first: number of the first sequence.

        Raises:
            ConfigError: count < 1 or steps < 2.
        """
        if count < 1 or steps < 2:
            raise ConfigError(f"generate(count={count}, steps={steps}): count must be at least 1 and steps at least 2")
        clips = []
        for part in self._parts(count):
            size, start = part.stop - part.start, first + part.start
            noise = self._noise(size, steps, seed, start)
            given = {"static": self._static(size, seed, start), "noise": noise}
            clips.append(chain(self.backend, ("prior", "decoder"), given, ["x"])["x"])
        return _joined(clips)

    def resample_static(self, x: Array, *, seed: int = 0, first: int = 0) -> Floats:
        """Return x with its dynamic codes kept and its static code drawn from the prior."""
        return self._each(x, lambda codes, start: Codes(self._static(len(codes), seed, start), codes.dynamic), first)

    def resample_dynamic(self, x: Array, *, seed: int = 0, first: int = 0) -> Floats:
        """Return x with its static code kept and its dynamic codes drawn from the prior."""

        def change(codes: Codes, start: int) -> Codes:
            return Codes(codes.static, self._dynamic(len(codes), codes.dynamic.shape[1], seed, start))

        return self._each(x, change, first)

    def stream(self, batch: int = 1) -> Stream:
        """Return live streams, which take an element at a time and give its codes and reconstruction at once.

        Args:
            batch: how many streams advance together, B.

        Raises:
            ConfigError: batch < 1, or the model cannot run online: it must be causal, with anchor = first.
        """
        return Stream(self.backend, self.element, self.online.require(), batch)

    def _each(self, x: Array, change: Any, first: int = 0) -> Floats:
        self.element.check(x)
        return _joined(
            [self._decode(change(self._encode(x[part], None, 0), first + part.start)) for part in self._parts(len(x))]
        )

    def _parts(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.batch_size):
            yield slice(start, min(start + self.batch_size, count))

    def _encode(self, x: Array, seed: int | None, first: int) -> Codes:
        wanted = ["static_mean", "dynamic_mean", *([] if seed is None else ["static_std", "dynamic_std"])]
        found = chain(self.backend, ("encoder", "static", "dynamic"), {"x": x}, wanted)
        codes = Codes(found["static_mean"], found["dynamic_mean"])
        if seed is None:
            return codes
        static_noise = standard_normal(seed, Purpose.STATIC_POSTERIOR, first, codes.static.shape)
        dynamic_noise = standard_normal(seed, Purpose.DYNAMIC_POSTERIOR, first, codes.dynamic.shape)
        return Codes(
            np.asarray(codes.static + found["static_std"] * static_noise, np.float32),
            np.asarray(codes.dynamic + found["dynamic_std"] * dynamic_noise, np.float32),
        )

    def _decode(self, codes: Codes) -> Floats:
        return self._outputs(codes)["x"]

    def _outputs(self, codes: Codes) -> dict[str, Floats]:
        return self.backend.run("decoder", {"static": codes.static, "dynamic": codes.dynamic})

    def _static(self, count: int, seed: int, first: int) -> Floats:
        return standard_normal(seed, Purpose.STATIC_PRIOR, first, (count, self.letters.static_size))

    def _dynamic(self, count: int, steps: int, seed: int, first: int) -> Floats:
        return self.backend.run("prior", {"noise": self._noise(count, steps, seed, first)})["dynamic"]

    def _noise(self, count: int, steps: int, seed: int, first: int) -> Floats:
        return standard_normal(seed, Purpose.DYNAMIC_PRIOR, first, (count, steps, self.letters.dynamic_size))

    def _check_codes(self, codes: Codes) -> None:
        static, dynamic, letters = codes.static, codes.dynamic, self.letters
        expected = f"static (B, {letters.static_size}) and dynamic (B, T, {letters.dynamic_size}), float32, T >= 2"
        fits = (
            static.ndim == 2
            and dynamic.ndim == 3
            and static.shape[1] == letters.static_size
            and dynamic.shape[2] == letters.dynamic_size
            and static.dtype == dynamic.dtype == np.float32
            and dynamic.shape[1] >= 2
        )
        if not fits or len(static) != len(dynamic) or len(static) == 0:
            given = f"static {static.shape} {static.dtype} and dynamic {dynamic.shape} {dynamic.dtype}"
            raise DataError(f"codes are {given}; expected {expected}")


def _joined(parts: list[Floats]) -> Floats:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
