"""The training loop: plain, on Hugging Face Accelerate, and resumable to the bit."""

import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

import sdkit
from sdkit.figures.curves import draw_curves
from sdkit.models.config import ModelConfig
from sdkit.models.losses import Terms, objective
from sdkit.models.model import SplitModel
from sdkit.runtime.errors import ConfigError, DeviceError
from sdkit.runtime.output import remove
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.sequences import SequenceFile
from sdkit.training import checkpoint
from sdkit.training.config import TrainConfig
from sdkit.training.data import Batches, split_indices
from sdkit.training.run import DataInfo, Run, RunConfig
from sdkit.training.swaps import draw_swaps
from sdkit.training.units import active_units

TERMS = ("loss", "nll", "nll_anchor", "kl_static", "kl_dynamic")


class CollapseWarning(UserWarning):
    """A code that carries nothing."""


def accelerator(device: str) -> Any:
    """Return an Accelerator on `auto`, `cpu` or `cuda[:N]`.

    Raises:
        DeviceError: CUDA was asked for and is not there.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise DeviceError(f"device {device} was asked for, but this PyTorch sees no CUDA device; use auto or cpu")
        torch.cuda.set_device(device if ":" in device else "cuda:0")
    elif device not in ("auto", "cpu"):
        raise ConfigError(f"unknown device '{device}'; choose auto, cpu, cuda or cuda:N")
    # Accelerate keeps one state a process; a second training in it may ask for another device.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=device == "cpu")


def bf16_available(device: torch.device) -> bool:
    """Return whether bf16 convolutions run at the machine's full speed."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported())


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

    def __post_init__(self) -> None:
        train, device = self.config.train, self.accelerator.device
        if train.precision == "bf16" and not bf16_available(device):
            raise DeviceError(f"precision = bf16, but {device} has no bf16 instructions; use precision=float32 or auto")
        self.bf16 = train.precision != "float32" and bf16_available(device)
        if train.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(self.model.parameters(), train.learning_rate)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.epoch, self.best = 0, float("inf")
        self.metrics: list[dict[str, Any]] = []
        self.warned: set[str] = set()

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
            shown = dict(zip(TERMS, values.tolist(), strict=True))
            self.reporter.advance(1, **{k: v for k, v in shown.items() if k != "loss"})
        self.reporter.finish()
        return dict(zip(TERMS, (sums / count).tolist(), strict=True))

    def step(self, batch: torch.Tensor) -> Terms:
        """Take one optimiser step on a batch (B, T, *element) and return its terms."""
        terms = self._terms(batch[self.accelerator.process_index :: self.accelerator.num_processes])
        if not torch.isfinite(terms.loss):
            raise ConfigError(
                f"the loss became {terms.loss.item()} in epoch {self.epoch + 1}; lower learning_rate or raise beta "
                f"(the last complete epoch is kept in {self.run.path})"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(terms.loss)
        self.optimizer.step()
        return terms

    def _terms(self, x: torch.Tensor) -> Terms:
        config = self.config.train
        beta_static, beta_dynamic = config.betas
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.wrapped(x)
        return objective(
            output, self.config.model, alpha=config.alpha, beta_static=beta_static, beta_dynamic=beta_dynamic
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
                values = torch.stack(list(self._terms(batch))).cpu()
                sums, count = sums + values * len(batch), count + len(batch)
                static, dynamic = self.model.posterior(batch)
                means.append((static.mean.cpu(), dynamic.mean.flatten(0, 1).cpu()))
        active = {
            "active_static": active_units(torch.cat([m[0] for m in means])),
            "active_dynamic": active_units(torch.cat([m[1] for m in means])),
        }
        return (
            active
            if self.val_batches is None
            else {**active, "val": dict(zip(TERMS, (sums / count).tolist(), strict=True))}
        )

    def _save(self, record: dict[str, Any]) -> None:
        score = record.get("val", record["train"])["loss"]
        improved = score < self.best
        self.best = min(self.best, score)
        every = self.config.train.swap_every
        if every and (self.epoch % every == 0 or self.epoch in (1, self.config.train.epochs)):
            draw_swaps(self.model, self.val_batches or self.train_batches, self.run.path / "swaps", self.epoch)
        # State first: whatever else is interrupted, the state and the metrics up to its epoch agree.
        lines = "".join(json.dumps(m) + "\n" for m in self.metrics)
        checkpoint.write_text(self.run.path / "metrics.jsonl", lines)
        checkpoint.save(self.run, self.model, self.optimizer, epoch=self.epoch, best=self.best, improved=improved)
        draw_curves(self.metrics, self.run.path / "curves.png")

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


def start(
    file: SequenceFile,
    path: Path,
    model: ModelConfig,
    train: TrainConfig,
    *,
    preset: str,
    device: str,
    reporter: Reporter,
) -> Run:
    """Train a new model on a file and return its run.

    The folder is removed if training ends before its first epoch does.
    """
    chosen = accelerator(device)
    train_index, val_index = split_indices(file, train.val_fraction, train.seed)
    info = DataInfo(
        str(file.path.absolute()),
        file.meta.name,
        len(train_index),
        len(val_index),
        file.steps,
        file.meta.source,
        file.meta.licence,
    )
    config = RunConfig(model, train, info, preset, sdkit.__version__, str(torch.__version__), checkpoint.commit())
    torch.manual_seed(train.seed)
    module = SplitModel(config.model)
    path.mkdir(parents=True)
    try:
        checkpoint.write_text(path / "config.json", msgspec.json.format(msgspec.json.encode(config)).decode() + "\n")
        _trainer(Run(path), config, module, file, chosen, reporter).fit()
    except BaseException:
        if not (path / "state.pt").exists():
            remove(path)
        raise
    return Run(path)


def resume(run: Run, epochs: int | None, *, data: Path | None, device: str, reporter: Reporter) -> Run:
    """Continue a run to `epochs` epochs in all (its own number when None) and return it.

    Raises:
        ConfigError: it has more epochs already.
        MissingFileError: the run's data or state is not there.
    """
    config = run.config
    wanted = epochs or config.train.epochs
    done = len(run.metrics())
    if wanted < done:
        raise ConfigError(f"{run.path} has {done} epochs already; --epochs {wanted} cannot undo any")
    config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, epochs=wanted))
    file = SequenceFile(data or config.data.path)
    trainer = _trainer(run, config, SplitModel(config.model), file, accelerator(device), reporter)
    trainer.resume()
    checkpoint.write_text(run.path / "config.json", msgspec.json.format(msgspec.json.encode(config)).decode() + "\n")
    trainer.fit()
    return run


def _trainer(
    run: Run, config: RunConfig, model: SplitModel, file: SequenceFile, chosen: Any, reporter: Reporter
) -> Trainer:
    train = config.train
    if file.element != config.model.element:
        raise ConfigError(
            f"{file.path} holds {file.element.describe()}; the model was made for {config.model.element.describe()}"
        )
    train_index, val_index = split_indices(file, train.val_fraction, train.seed)
    budget = train.resident_gb * 1e9

    def batches(index: Any) -> Batches:
        return Batches(file, index, train.batch_size, resident_bytes=budget, device=chosen.device, reporter=reporter)

    reporter.note(
        f"{run.path}: {len(train_index)} training and {len(val_index)} validation sequences on {chosen.device}"
    )
    return Trainer(
        run, config, reporter, chosen, model, batches(train_index), batches(val_index) if len(val_index) else None
    )
