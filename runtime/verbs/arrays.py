"""The verbs: encode, decode, reconstruct, swap, generate, resample_static, resample_dynamic, and live streams.

Written once over a `Backend`, so that they compute the same on exported graphs and on the training model.
"""

import copy
from collections.abc import Iterator
from typing import Any, Self, get_args

import numpy as np

from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.codes import Codes, Floats, joined
from sdkit.runtime.contract import DYNAMIC_POSTERIOR, STATIC_PRIOR, VERBS, StaticPrior
from sdkit.runtime.element import Array, Element
from sdkit.runtime.engines.backend import Backend, chain
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.verbs.stream import Stream

BATCH_SIZE = 64
EVERY_VERB = Abilities()


class Verbs:
    """The same verbs on any engine that runs the graphs; numpy arrays in and out.

    Sequences are (B, T, *element) in the data set's dtype and units; decoded sequences are float32 in the same units
    (`element.cast` converts them to the data set's dtype). Codes are means unless a seed asks for samples. Any B is
    allowed: work is cut into batches of `batch_size`.
    """

    def __init__(
        self,
        backend: Backend,
        element: Element,
        widths: Widths,
        *,
        abilities: Abilities = EVERY_VERB,
        batch_size: int = BATCH_SIZE,
        static_prior: StaticPrior = "fitted",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size = {batch_size}; it must be at least 1")
        self.backend, self.element, self.widths, self.batch_size = backend, element, widths, batch_size
        self.abilities, self.static_prior = abilities, _known_prior(static_prior)

    @property
    def fitted(self) -> bool:
        """Whether static codes are drawn from a prior of the bundle's own, and not from N(0, I)."""
        return self.static_prior == "fitted" and STATIC_PRIOR in self.backend.ports

    def drawing_from(self, static_prior: StaticPrior) -> Self:
        """Return the same verbs, with static codes drawn from another prior.

        Raises:
            ConfigError: an unknown prior.

        >>> rt.drawing_from("standard").generate(2, steps=6).shape
        (2, 6, 3, 64, 64)
        """
        other = copy.copy(self)
        other.static_prior = _known_prior(static_prior)
        return other

    @property
    def device(self) -> str:
        """Device on which the graphs really run: `cpu` or `cuda:N`."""
        return self.backend.device

    def encode(self, x: Array, *, seed: int | None = None, first: int = 0) -> Codes:
        """Return the codes of sequences.

        Args:
            x: (B, T, *element), T >= 2.
            seed: seed of codes drawn from the posterior; its means are taken when None.
            first: number of the first sequence, which selects its noise (`runtime.noise`).

        Raises:
            CapabilityError: the model cannot encode.
            DataError: x is not a batch of this element.

        >>> codes = rt.encode(x)
        >>> codes.static.shape, codes.dynamic.shape
        ((8, 5), (8, 8, 4))
        """
        self.abilities.require("encode")
        self.element.check(x)
        return Codes.join([self._encode(x[part], seed, first + part.start) for part in self._parts(len(x))])

    def decode(self, codes: Codes) -> Floats:
        """Return the sequences of codes, (B, T, *element) float32 in data units.

        Raises:
            CapabilityError: the model cannot decode.
            DataError: codes of other widths, or of different B.

        >>> rt.decode(rt.encode(x)).shape
        (8, 8, 3, 64, 64)
        """
        self.abilities.require("decode")
        self._check_codes(codes)
        return joined([self._decode(codes[part]) for part in self._parts(len(codes))])

    def decode_outputs(self, codes: Codes) -> dict[str, Floats]:
        """Return all outputs of the decoder: `x`, and `x_std` of series, both (B, T, *element).

        Raises:
            CapabilityError: the model cannot decode.
            DataError: codes of other widths, or of different B.

        >>> sorted(rt.decode_outputs(rt.encode(x)))
        ['x']
        """
        self.abilities.require("decode")
        self._check_codes(codes)
        parts = [self._outputs(codes[part]) for part in self._parts(len(codes))]
        return {name: joined([part[name] for part in parts]) for name in parts[0]}

    def reconstruct(self, x: Array) -> Floats:
        """Return decode(encode(x)).

        >>> rt.reconstruct(x).shape == x.shape
        True
        """
        self.abilities.require("reconstruct")
        return self._each(x, lambda codes, first: codes)

    def swap(self, a: Array, b: Array) -> tuple[Floats, Floats]:
        """Return a's static code with b's dynamic codes, and b's static code with a's dynamic codes.

        Args:
            a: (B, T, *element).
            b: (B, T', *element); T' may differ from T. Sequences are paired by position.

        Raises:
            CapabilityError: the model cannot swap, for instance because it has no static code.
            DataError: different B, or not batches of this element.

        >>> a_with_b, b_with_a = rt.swap(x[:4], x[4:])
        >>> a_with_b.shape
        (4, 8, 3, 64, 64)
        """
        self.abilities.require("swap")
        if len(a) != len(b):
            raise DataError(f"swap pairs sequences one to one; a has {len(a)} and b has {len(b)}")
        ca, cb = self.encode(a), self.encode(b)
        return self.decode(Codes(ca.static, cb.dynamic)), self.decode(Codes(cb.static, ca.dynamic))

    def generate(self, count: int, steps: int = 8, *, seed: int = 0, first: int = 0) -> Floats:
        """Return sequences whose static and dynamic codes are drawn from the prior.

        Args:
            count: number of sequences, B.
            steps: number of elements of a sequence, T >= 2.
            seed: seed of the noise; the same seed gives the same sequences in every host.
            first: number of the first sequence.

        Raises:
            CapabilityError: the model cannot generate.
            ConfigError: count < 1, steps < 2, or more steps than the prior draws.

        >>> rt.generate(2, steps=6, seed=1).shape
        (2, 6, 3, 64, 64)
        """
        self.abilities.require("generate")
        if count < 1 or steps < 2:
            raise ConfigError(f"generate(count={count}, steps={steps}): count must be at least 1 and steps at least 2")
        self.abilities.require_steps(steps)
        clips = []
        for part in self._parts(count):
            size, start = part.stop - part.start, first + part.start
            noise = self._noise(size, steps, seed, start)
            given = {"static": self.draw_static(size, seed, start), "noise": noise}
            clips.append(chain(self.backend, VERBS["generate"].graphs, given, ["x"])["x"])
        return joined(clips)

    def resample_static(self, x: Array, *, seed: int = 0, first: int = 0) -> Floats:
        """Return x with its dynamic codes kept and its static code drawn from the prior.

        >>> rt.resample_static(x, seed=1).shape == x.shape
        True
        """
        self.abilities.require("resample_static")
        return self._each(
            x, lambda codes, start: Codes(self.draw_static(len(codes), seed, start), codes.dynamic), first
        )

    def resample_dynamic(self, x: Array, *, seed: int = 0, first: int = 0) -> Floats:
        """Return x with its static code kept and its dynamic codes drawn from the prior.

        >>> rt.resample_dynamic(x, seed=1).shape == x.shape
        True
        """
        self.abilities.require("resample_dynamic")
        self.element.check(x)
        self.abilities.require_steps(x.shape[1])

        def change(codes: Codes, start: int) -> Codes:
            return Codes(codes.static, self.draw_dynamic(len(codes), codes.dynamic.shape[1], seed, start))

        return self._each(x, change, first)

    def stream(self, batch: int = 1) -> Stream:
        """Return live streams, which take one element at a time and return its codes and reconstruction at once.

        Args:
            batch: number of streams that advance together, B.

        Raises:
            CapabilityError: the model cannot run online; the message says why.
            ConfigError: batch < 1.

        >>> stream = rt.stream(batch=8)
        >>> step = stream.push(x[:, 0])
        >>> step.static.shape, step.dynamic.shape, step.x.shape
        ((8, 5), (8, 4), (8, 3, 64, 64))
        """
        self.abilities.require("stream")
        return Stream(self.backend, self.element, self.widths.state, batch)

    def _each(self, x: Array, change: Any, first: int = 0) -> Floats:
        self.element.check(x)
        return joined(
            [self._decode(change(self._encode(x[part], None, 0), first + part.start)) for part in self._parts(len(x))]
        )

    def _parts(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.batch_size):
            yield slice(start, min(start + self.batch_size, count))

    def _encode(self, x: Array, seed: int | None, first: int) -> Codes:
        if seed is not None:
            return self._sampled(x, seed, first)
        found = chain(self.backend, VERBS["encode"].graphs, {"x": x}, ("static_mean", "dynamic_mean"))
        return Codes(found["static_mean"], found["dynamic_mean"])

    def _sampled(self, x: Array, seed: int, first: int) -> Codes:
        """Return sampled codes; where the dynamic codes depend on the static code, they are given the sampled one."""
        backend = self.backend
        last = DYNAMIC_POSTERIOR if DYNAMIC_POSTERIOR in backend.ports else "dynamic"
        wanted = ("dynamic",) if last == DYNAMIC_POSTERIOR else ("dynamic_mean", "dynamic_std")
        size = (len(x), x.shape[1], self.widths.dynamic_size)
        noise = standard_normal(seed, Purpose.DYNAMIC_POSTERIOR, first, size)
        static_noise = standard_normal(seed, Purpose.STATIC_POSTERIOR, first, (len(x), self.widths.static_size))
        # In one chain where no other step needs the static code, so that features stay on the device.
        waits = "static" in backend.ports[last].inputs
        begun = ("encoder", "static") if waits else ("encoder", "static", last)
        kept = ("features", *backend.ports["static"].outputs) if waits else ("static_mean", "static_std", *wanted)
        pool = chain(backend, begun, {"x": x, "noise": noise}, kept)
        static = np.asarray(pool["static_mean"] + pool["static_std"] * static_noise, np.float32)
        if waits:
            pool = chain(backend, (last,), {**pool, "static": static, "noise": noise}, wanted)
        if last == DYNAMIC_POSTERIOR:
            return Codes(static, pool["dynamic"])
        return Codes(static, np.asarray(pool["dynamic_mean"] + pool["dynamic_std"] * noise, np.float32))

    def _decode(self, codes: Codes) -> Floats:
        return self._outputs(codes)["x"]

    def _outputs(self, codes: Codes) -> dict[str, Floats]:
        outputs = self.backend.ports["decoder"].outputs
        return chain(self.backend, ("decoder",), {"static": codes.static, "dynamic": codes.dynamic}, outputs)

    def draw_static(self, count: int, seed: int, first: int = 0) -> Floats:
        """Return static codes drawn from the prior, (B, S), for the sequences number first, first + 1, ...

        >>> rt.draw_static(3, seed=1).shape
        (3, 5)
        """
        noise = standard_normal(seed, Purpose.STATIC_PRIOR, first, (count, self.widths.static_size))
        return self.backend.run(STATIC_PRIOR, {"noise": noise})["static"] if self.fitted else noise

    def draw_dynamic(self, count: int, steps: int, seed: int, first: int = 0) -> Floats:
        """Return dynamic codes drawn from the prior, (B, T, D), for the sequences number first, first + 1, ...

        Raises:
            ConfigError: more steps than the prior draws.

        >>> rt.draw_dynamic(3, steps=6, seed=1).shape
        (3, 6, 4)
        """
        self.abilities.require_steps(steps)
        return self.backend.run("prior", {"noise": self._noise(count, steps, seed, first)})["dynamic"]

    def _noise(self, count: int, steps: int, seed: int, first: int) -> Floats:
        return standard_normal(seed, Purpose.DYNAMIC_PRIOR, first, (count, steps, self.widths.dynamic_size))

    def _check_codes(self, codes: Codes) -> None:
        static, dynamic, widths = codes.static, codes.dynamic, self.widths
        expected = f"static (B, {widths.static_size}) and dynamic (B, T, {widths.dynamic_size}), float32, T >= 2"
        fits = (
            static.ndim == 2
            and dynamic.ndim == 3
            and static.shape[1] == widths.static_size
            and dynamic.shape[2] == widths.dynamic_size
            and static.dtype == dynamic.dtype == np.float32
            and dynamic.shape[1] >= 2
        )
        if not fits or len(static) != len(dynamic) or len(static) == 0:
            given = f"static {static.shape} {static.dtype} and dynamic {dynamic.shape} {dynamic.dtype}"
            raise DataError(f"codes are {given}; expected {expected}")


def _known_prior(name: StaticPrior) -> StaticPrior:
    if name not in get_args(StaticPrior):
        raise ConfigError(f"unknown static_prior '{name}'; choose {' or '.join(get_args(StaticPrior))}")
    return name
