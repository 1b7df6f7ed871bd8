"""The training loop: plain, on Hugging Face Accelerate, and resumable to the bit."""

import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sdkit.figures.curves import draw_curves
from sdkit.models.losses import Terms, objective
from sdkit.models.model import Output, SplitModel
from sdkit.runtime.errors import ConfigError, DeviceError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.training import checkpoint
from sdkit.training.data import Batches
from sdkit.training.device import bf16_available
from sdkit.training.run import Run, RunConfig
from sdkit.training.swaps import draw_swaps
from sdkit.training.units import active_units

EpochHook = Callable[[dict[str, Any]], None]
SECONDS_BETWEEN_CURVES = 10.0
TERMS = ("loss", "nll", "nll_anchor", "kl_static", "kl_dynamic", "kl_filter", "nll_filter")


class CollapseWarning(UserWarning):
    """A code that carries nothing."""


@dataclass
class Trainer:
    """One training run in progress."""

    run: Run
    config: RunConfig
    reporter: Reporter
    accelerator: Any
    model: SplitModel
    train_batches: Batches
    val_batches: Batches | None
    on_epoch: EpochHook | None = None
    """Called with each epoch's record once it is saved; may raise to end the run there."""

    def __post_init__(self) -> None:
        train, device = self.config.train, self.accelerator.device
        if train.precision == "bf16" and not bf16_available(device):
            raise DeviceError(f"precision = bf16, but {device} has no bf16 instructions; use precision=float32 or auto")
        self.bf16 = train.precision != "float32" and bf16_available(device)
        if train.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(self.model.parameters(), train.learning_rate)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.recorded = {*TERMS} - (set() if self.config.model.filter else {"kl_filter", "nll_filter"})
        self.epoch, self.best = 0, float("inf")
        self.metrics: list[dict[str, Any]] = []
        self.warned: set[str] = set()
        self.drawn = -math.inf

    def resume(self) -> None:
        """Take up the state of the last complete epoch."""
        state = checkpoint.load_state(self.run, self.model, self.optimizer, self.accelerator.device)
        self.epoch, self.best = state["epoch"], state["best"]
        self.metrics = self.run.metrics()[: self.epoch]

    def fit(self) -> None:
        """Train until `epochs` epochs are done, leaving a resumable state after each."""
        while self.epoch < self.config.train.epochs:
            started = time.perf_counter()
            # Seeding by epoch makes a resumed run draw what an unbroken one would have drawn.
            torch.manual_seed(self.config.train.seed * 1_000_003 + self.epoch)
            terms = self._train_epoch()
            record = {"epoch": self.epoch + 1, "train": terms, **self._validate()}
            record["seconds"] = round(time.perf_counter() - started, 3)
            self.epoch += 1
            self.metrics.append(record)
            if self.accelerator.is_main_process:
                self._save(record)
                self._warn_of_collapse(record)
                if self.on_epoch is not None:
                    self.on_epoch(record)
            self.accelerator.wait_for_everyone()  # nobody reads the run before it is written
        self.accelerator.end_training()

    def _train_epoch(self) -> dict[str, float]:
        config = self.config.train
        self.model.train()
        steps = self.train_batches.count(config.seed, self.epoch)
        self.reporter.start(f"epoch {self.epoch + 1}/{config.epochs}", steps)
        sums, count = torch.zeros(len(TERMS)), 0
        for batch in self.train_batches.epoch(config.seed, self.epoch):
            terms = self.step(batch)
            values = torch.stack([t.detach() for t in terms]).cpu()
            sums, count = sums + values * len(batch), count + len(batch)
            self.reporter.advance(1, **{k: v for k, v in self._named(values).items() if k != "loss"})
        self.reporter.finish()
        # Every process saw its share of each batch; the record is of all.
        sums = self.accelerator.reduce(sums.to(self.accelerator.device)).cpu() / self.accelerator.num_processes
        return self._named(sums / count)

    def _named(self, values: torch.Tensor) -> dict[str, float]:
        """Return the values (len(TERMS),) by name, without the filter's where the model has none."""
        return {k: v for k, v in zip(TERMS, values.tolist(), strict=True) if k in self.recorded}

    def step(self, batch: torch.Tensor) -> Terms:
        """Take one optimiser step on a batch (B, T, *element) and return its terms."""
        _, terms = self._forward(batch[self.accelerator.process_index :: self.accelerator.num_processes])
        if not torch.isfinite(terms.loss):
            kept = f" (the epochs before are kept in {self.run.path})" if self.epoch else ""
            raise ConfigError(
                f"the loss became {terms.loss.item()} in epoch {self.epoch + 1}; lower learning_rate or raise beta"
                + kept
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(terms.loss)
        self.optimizer.step()
        return terms

    def _forward(self, x: torch.Tensor) -> tuple[Output, Terms]:
        config = self.config.train
        beta_static, beta_dynamic = config.betas
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.wrapped(x)
        return output, objective(
            output,
            self.config.model,
            alpha=config.alpha,
            beta_static=beta_static,
            beta_dynamic=beta_dynamic,
            per_value=config.likelihood == "mean",
        )

    def _validate(self) -> dict[str, Any]:
        batches = self.val_batches or self.train_batches
        self.model.eval()
        torch.manual_seed(self.config.train.seed)  # the same noise every epoch, so that epochs compare
        sums, count, means = torch.zeros(len(TERMS)), 0, []
        with torch.no_grad():
            for i, batch in enumerate(batches.epoch(0, 0, shuffle=False)):
                if self.val_batches is None and i >= 4:
                    break  # without a validation split a few training batches tell the active units
                output, terms = self._forward(batch)
                sums, count = sums + torch.stack(list(terms)).cpu() * len(batch), count + len(batch)
                means.append((output.static.mean.cpu(), output.dynamic.mean.flatten(0, 1).cpu()))
        active = {
            "active_static": active_units(torch.cat([m[0] for m in means])),
            "active_dynamic": active_units(torch.cat([m[1] for m in means])),
        }
        return active if self.val_batches is None else {**active, "val": self._named(sums / count)}

    def _save(self, record: dict[str, Any]) -> None:
        score = record.get("val", record["train"])["loss"]
        improved = score < self.best
        self.best = min(self.best, score)
        every = self.config.train.swap_every
        if every and (self.epoch % every == 0 or self.epoch in (1, self.config.train.epochs)):
            draw_swaps(self.model, self.val_batches or self.train_batches, self.run.path / "swaps", self.epoch)
        # The state comes last: a run interrupted in between resumes from the epoch before and writes all of this again.
        lines = "".join(json.dumps(m) + "\n" for m in self.metrics)
        checkpoint.write_text(self.run.path / "metrics.jsonl", lines)
        # Epochs of small data sets take less time than a picture does.
        if self.epoch == self.config.train.epochs or time.monotonic() - self.drawn > SECONDS_BETWEEN_CURVES:
            draw_curves(self.metrics, self.run.path / "curves.png")
            self.drawn = time.monotonic()
        checkpoint.save(self.run, self.model, self.optimizer, epoch=self.epoch, best=self.best, improved=improved)

    def _warn_of_collapse(self, record: dict[str, Any]) -> None:
        for code in ("static", "dynamic"):
            # Codes of the first epochs say little; after that a code without one active unit is worth a word, once.
            if record[f"active_{code}"] or self.epoch < min(3, self.config.train.epochs) or code in self.warned:
                continue
            self.warned.add(code)
            message = (
                f"the {code} code has collapsed: none of its units varies over the data (epoch {self.epoch}, KL "
                f"{record['train'][f'kl_{code}']:.2f} nats); lower beta_{code}"
                + (", or raise alpha" if code == "static" else "")
            )
            self.reporter.note(f"warning: {message}")
            if isinstance(self.reporter, Quiet):
                warnings.warn(message, CollapseWarning, stacklevel=2)
