"""The training loop: plain, on Hugging Face Accelerate, and resumable to the bit."""

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch

from sdkit.figures.curves import draw_curves
from sdkit.methods.base import Batch, Code, Losses, Method
from sdkit.runtime.errors import DeviceError, DivergenceError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.training import checkpoint
from sdkit.training.active_units import active_units
from sdkit.training.data import Batches
from sdkit.training.device import bf16_available, keep_freed_memory
from sdkit.training.run import Run, RunConfig
from sdkit.training.swaps import draw_swaps

EpochHook = Callable[[dict[str, Any]], None]
SECONDS_BETWEEN_CURVES = 10.0
ADAM_BETA2 = 0.999
"""Decay of Adam's mean of squared gradients."""
LOSS = "loss"
"""Name of the weighted sum in a record, beside the terms."""
FEW_BATCHES = 4
"""Number of batches of the training split that suffice to look at codes."""


class CollapseWarning(UserWarning):
    """Warning that a code carries no information."""


@dataclass
class Trainer:
    """One training run in progress."""

    run: Run
    config: RunConfig
    reporter: Reporter
    accelerator: Any
    model: Method
    train_batches: Batches
    val_batches: Batches | None
    on_epoch: EpochHook | None = None
    """Function called with each epoch's record once it is saved; it may raise to end the run there."""

    def __post_init__(self) -> None:
        train, device = self.config.train, self.accelerator.device
        if train.precision == "bf16" and not bf16_available(device):
            raise DeviceError(f"precision = bf16, but {device} has no bf16 instructions; use precision=float32 or auto")
        self.bf16 = train.precision != "float32" and bf16_available(device)
        if train.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        phases = self.model.phases
        self.trained = {phase: list(self.model.phase_parameters(phase)) for phase in phases}
        betas = (train.adam_beta1, ADAM_BETA2)
        adams = [
            torch.optim.Adam(parameters, train.learning_rate * self.model.phase_rate(phase), betas)
            for phase, parameters in self.trained.items()
        ]
        if self.model.settled or len(phases) > 1:
            from accelerate import DistributedDataParallelKwargs

            # A step of one stage or phase leaves parameters of another without a gradient, which processes must know.
            self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.wrapped, *prepared = self.accelerator.prepare(self.model, *adams)
        self.optimizers = dict(zip(phases, prepared, strict=True))
        self.epoch, self.best = 0, float("inf")
        self.metrics: list[dict[str, Any]] = []
        self.warned: set[str] = set()
        self.drawn = time.monotonic()  # the curves of a first epoch are single points

    def resume(self) -> None:
        """Load the state of the last complete epoch."""
        state = checkpoint.load_state(self.run, self.model, self.optimizers, self.accelerator.device)
        self.epoch, self.best = state["epoch"], state["best"]
        self.metrics = self.run.metrics()[: self.epoch]

    def fit(self) -> None:
        """Train until `epochs` epochs are done, leaving a resumable state after each."""
        keep_freed_memory()
        while self.epoch < self.config.train.epochs:
            started = time.perf_counter()
            # Seeding by epoch makes a resumed run draw what an uninterrupted one would have drawn.
            torch.manual_seed(self.config.train.seed * 1_000_003 + self.epoch)
            terms = self._train_epoch()
            record = {"epoch": self.epoch + 1, "train": terms, **self._validate()}
            record["seconds"] = round(time.perf_counter() - started, 3)
            self.epoch += 1
            self.metrics.append(record)
            if self.accelerator.is_main_process:
                self._finish(FEW_BATCHES)
                self._save(record)
                self._warn_of_collapse(record)
                if self.on_epoch is not None:
                    self.on_epoch(record)
            self.accelerator.wait_for_everyone()  # no process reads the run before it is written
        if self.accelerator.is_main_process and self.model.finishes:
            self._finish_run()
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def _train_epoch(self) -> dict[str, float]:
        config = self.config.train
        self.model.train()
        steps = self.train_batches.count(config.seed, self.epoch)
        self.reporter.start(f"epoch {self.epoch + 1}/{config.epochs}", steps)
        sums = _Sums()
        for i, batch in enumerate(self.train_batches.epoch(config.seed, self.epoch)):
            progress = (self.epoch + i / steps) / config.epochs
            values = sums.add(self.step(batch._replace(progress=progress)), len(batch.x))
            self.reporter.advance(1, **{name: value for name, value in values.items() if name != LOSS})
        self.reporter.finish()
        # Every process saw its share of each batch; the record is of all shares.
        total = self.accelerator.reduce(sums.total.to(self.accelerator.device)).cpu() / self.accelerator.num_processes
        return sums.named(total / sums.count)

    def step(self, batch: Batch) -> Losses:
        """Take the optimiser steps of a batch, one for each phase, and return the losses of all phases together."""
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        batch = batch._replace(x=batch.x[share], rows=batch.rows[share])
        terms: dict[str, torch.Tensor] = {}
        parts: list[torch.Tensor] = []
        for phase, optimizer in self.optimizers.items():
            losses = self._forward(batch, phase)
            self._require_finite(losses)
            # Of all parameters: what another phase has left in its own is none of this one's.
            self.model.zero_grad(set_to_none=True)
            self.accelerator.backward(losses.loss)
            if self.config.train.gradient_clip:
                self.accelerator.clip_grad_norm_(self.trained[phase], self.config.train.gradient_clip)
            optimizer.step()
            parts.append(losses.loss.detach())
            terms |= losses.terms
        return Losses(torch.stack(parts).sum(), terms)

    def _require_finite(self, losses: Losses) -> None:
        if not torch.isfinite(losses.loss):
            kept = f" (the epochs before are kept in {self.run.path})" if self.epoch else ""
            raise DivergenceError(
                f"the loss became {losses.loss.item()} in epoch {self.epoch + 1}; lower learning_rate, or set "
                f"gradient_clip=1{kept}"
            )

    def _forward(self, batch: Batch, phase: str) -> Losses:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.bf16):
            losses: Losses = self.wrapped(batch, phase)
        return losses

    def _validate(self) -> dict[str, Any]:
        batches = self.val_batches or self.train_batches
        self.model.eval()
        torch.manual_seed(self.config.train.seed)  # the same noise every epoch, so that epochs compare
        sums, means = _Sums(), _Means()
        with torch.no_grad():
            for i, batch in enumerate(batches.epoch(0, 0, shuffle=False)):
                if self.val_batches is None and i >= FEW_BATCHES:
                    break  # without a validation split a few training batches suffice for the active units
                batch = batch._replace(progress=(self.epoch + 1) / self.config.train.epochs)
                losses = self._forward(batch, self.model.phases[0])
                sums.add(losses, len(batch.x))
                means.add(losses)
        active = means.active()
        return active if self.val_batches is None else {**active, "val": sums.named(sums.total / sums.count)}

    def _finish(self, limit: int | None) -> None:
        """Let the method fit what has no gradient, on the first batches of the training split, or on all."""
        if self.model.finishes:
            self.model.eval()
            with torch.no_grad():
                self.model.finish(islice(self.train_batches.epoch(0, 0, shuffle=False), limit))

    def _finish_run(self) -> None:
        """Complete the best and the last weights on the whole training split."""
        names: tuple[Literal["best", "last"], ...] = ("best", "last")
        for name in names:
            epoch = checkpoint.load_weights(self.run, self.model, name)
            self._finish(None)
            checkpoint.save_weights(self.run, self.model, name, epoch)

    def _save(self, record: dict[str, Any]) -> None:
        score = record.get("val", record["train"])["loss"]
        # Epochs that began before the last stage did not minimise what later ones do: the newest replaces them.
        unsettled = (self.epoch - 1) / self.config.train.epochs < self.model.settled
        improved = unsettled or score < self.best
        self.best = float("inf") if unsettled else min(self.best, score)
        every = self.config.train.swap_every
        if every and (self.epoch % every == 0 or self.epoch in (1, self.config.train.epochs)):
            draw_swaps(self.model, self.val_batches or self.train_batches, self.run.path / "swaps", self.epoch)
        # The state comes last: a run interrupted in between resumes from the epoch before and writes all of this again.
        lines = "".join(json.dumps(m) + "\n" for m in self.metrics)
        checkpoint.write_text(self.run.path / "metrics.jsonl", lines)
        # Epochs of small data sets take less time than a picture does.
        if self.epoch == self.config.train.epochs or time.monotonic() - self.drawn > SECONDS_BETWEEN_CURVES:
            draw_curves(self.metrics, self.model.terms, self.run.path / "curves.png")
            self.drawn = time.monotonic()
        checkpoint.save(self.run, self.model, self.optimizers, epoch=self.epoch, best=self.best, improved=improved)

    def _warn_of_collapse(self, record: dict[str, Any]) -> None:
        codes: tuple[Code, ...] = ("static", "dynamic")
        for code in codes:
            # Codes of the first epochs say little; after that, one warning is due for a code without active units.
            active = record.get(f"active_{code}")
            if active is None or active or self.epoch < min(3, self.config.train.epochs) or code in self.warned:
                continue
            self.warned.add(code)
            term, advice = self.model.term_of(code), self.model.lower_when_collapsed.get(code)
            cost = f", KL {record['train'][term]:.2f} nats" if term in record["train"] else ""
            message = (
                f"the {code} code has collapsed: none of its units varies over the data (epoch {self.epoch}{cost})"
                + (f"; {advice}" if advice else "")
            )
            self.reporter.note(f"warning: {message}")
            if isinstance(self.reporter, Quiet):
                warnings.warn(message, CollapseWarning, stacklevel=2)


class _Sums:
    """Sums of a loss and its terms over sequences."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.total = torch.zeros(0)
        self.count = 0

    def add(self, losses: Losses, count: int) -> dict[str, float]:
        """Add the losses of a batch, and return them by name."""
        if not self.count:
            self.names = (LOSS, *losses.terms)
            self.total = torch.zeros(len(self.names))
        values = torch.stack([value.detach().float() for value in (losses.loss, *losses.terms.values())]).cpu()
        self.total, self.count = self.total + values * count, self.count + count
        return self.named(values)

    def named(self, values: torch.Tensor) -> dict[str, float]:
        return dict(zip(self.names, values.tolist(), strict=True))


class _Means:
    """Posterior means of the codes, for counting active units."""

    def __init__(self) -> None:
        self.found: dict[str, list[torch.Tensor]] = {}

    def add(self, losses: Losses) -> None:
        for code, means in (("static", losses.static), ("dynamic", losses.dynamic)):
            if means is not None:
                self.found.setdefault(code, []).append(means.reshape(-1, means.shape[-1]).cpu())

    def active(self) -> dict[str, int]:
        """Return `active_static` and `active_dynamic`, for the codes that there are."""
        return {f"active_{code}": active_units(torch.cat(means)) for code, means in self.found.items()}
