"""The subject of an evaluation: a trained run, or the graphs of a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.errors import MissingFileError
from sdkit.runtime.locate import BUNDLE_FILE, RUN_FILE, find_run_folder
from sdkit.runtime.verbs.arrays import Verbs

if TYPE_CHECKING:
    from sdkit.methods.base import Method


@dataclass(frozen=True)
class Subject:
    """A run or a bundle under evaluation."""

    path: Path
    verbs: Verbs
    model: "Method | None"
    """The training model; None for a bundle."""
    backend: str
    """Engine that runs it: `torch`, `onnx` or `torchscript`."""
    weights: str
    """SHA-256 of the weights."""
    val_fraction: float
    seed: int
    """Seed of the training, which determines the held-out sequences where the file has no validation split."""
    data: str
    """Path of the training data, if known."""
    fitted_prior: bool = False
    """Whether static codes can be drawn from a prior that was fitted after training, beside the method's N(0, I)."""

    @property
    def declared(self) -> Verbs:
        """The verbs with the prior of the method, against which it was trained."""
        return self.verbs.drawing_from("standard") if self.fitted_prior else self.verbs

    @property
    def output(self) -> Path:
        """Default folder of the results."""
        run = self.path if self.model is not None else self.path.resolve().parent
        return run / ("evaluation" if self.model is not None else f"evaluation-{self.backend}")


def open_subject(source: str | Path | None, *, backend: GraphFormat = "onnx", device: str = "auto") -> Subject:
    """Return a run or bundle, ready to use.

    Raises:
        MissingFileError: neither a run nor a bundle.
    """
    if source is not None and (Path(source) / BUNDLE_FILE).is_file():
        return _bundle(Path(source), backend, device)
    from sdkit.methods.graphs import verbs
    from sdkit.runtime.bundles.bundle import sha256
    from sdkit.training.run import Run

    try:
        run = Run(find_run_folder(source))
    except MissingFileError as error:
        if source is None:
            raise
        raise MissingFileError(
            f"{source} is neither a run nor a bundle: it holds neither {RUN_FILE} nor {BUNDLE_FILE}"
        ) from error
    model, config = run.load_model(), run.config
    weights = sha256(run.weights())
    train = config.train
    return Subject(
        run.path, verbs(model), model, "torch", weights, train.val_fraction, train.seed, config.data.path,
        fits_prior(config.settings),
    )  # fmt: skip


def _bundle(path: Path, backend: GraphFormat, device: str) -> Subject:
    from sdkit.runtime.runtime import Runtime

    rt = Runtime.open(path, device=device, backend=backend)
    provenance = rt.manifest.provenance
    val_fraction, seed, data = 0.05, provenance.seed, ""
    run = path.resolve().parent
    if (run / RUN_FILE).is_file():
        from sdkit.training.run import Run

        config = Run(run).config
        val_fraction, data = config.train.val_fraction, config.data.path
    fits = fits_prior(rt.manifest.settings)
    return Subject(path, rt, None, backend, provenance.weights_sha256, val_fraction, seed, data, fits)


def fits_prior(settings: Mapping[str, Any]) -> bool:
    """Return whether a method with these settings has a prior fitted after training beside its N(0, I)."""
    return settings.get("static_prior") == "fitted"
