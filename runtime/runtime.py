"""`Runtime`: a bundle and the engine that runs its graphs."""

from pathlib import Path

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.contract import StaticPrior
from sdkit.runtime.engines.backend import Backend
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.verbs.files import FileVerbs, choose_batch_size


class Runtime(FileVerbs):
    """Encodes, decodes, swaps, generates and streams with exported graphs; no PyTorch on the ONNX path.

    Open one with `Runtime.open`. `rt.device` is where graphs really run, `rt.backend.name` the engine that runs them.
    """

    def __init__(
        self, bundle: Bundle, backend: Backend, *, batch_size: int | None = None, static_prior: StaticPrior = "fitted"
    ) -> None:
        manifest = bundle.manifest
        self.chooses_batch_size = batch_size is None
        if batch_size is None:
            batch_size = choose_batch_size(manifest.element, manifest.widths, manifest.steps, backend.device)
        super().__init__(
            backend, manifest.element, manifest.widths, abilities=manifest.abilities, batch_size=batch_size,
            static_prior=static_prior,
        )  # fmt: skip
        self.bundle = bundle
        self.model_id = bundle.manifest.provenance.weights_sha256
        self.data_licence = bundle.manifest.provenance.data_licence

    @property
    def manifest(self) -> Manifest:
        """The bundle's contract."""
        return self.bundle.manifest

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        *,
        device: str = "auto",
        backend: GraphFormat = "onnx",
        threads: int | None = None,
        batch_size: int | None = None,
        static_prior: StaticPrior = "fitted",
    ) -> "Runtime":
        """Open a bundle.

        Args:
            path: a bundle, or a run that has one; SDKIT_BUNDLE or the newest run's bundle when None.
            device: `auto`, `cpu`, `cuda` or `cuda:N`; only `auto` may end on the CPU when there is no CUDA.
            backend: `onnx`, or `torchscript`, which is code and therefore runs only on request.
            threads: number of threads of one operator.
            batch_size: sequences that run at a time; when None, a number that suits the model and the device.
            static_prior: prior that static codes are drawn from: `fitted`, the bundle's own where it has one, or
                `standard`, N(0, I).

        Raises:
            MissingFileError: no bundle.
            BundleError: a bundle that must not be used.
            DeviceError, MissingExtraError: the device or the library to run it is missing.

        >>> sdkit.Runtime.open("runs/puppets/bundle", device="cpu").device
        'cpu'
        """
        if backend not in ("onnx", "torchscript"):
            raise ConfigError(f"unknown backend '{backend}'; choose onnx or torchscript")
        bundle = Bundle.open(path)
        return cls(bundle, _backend(bundle, backend, device, threads), batch_size=batch_size, static_prior=static_prior)


def _backend(bundle: Bundle, name: GraphFormat, device: str, threads: int | None) -> Backend:
    # The graphs must be there before a library is asked for: the clearer message of the two.
    for graph in bundle.manifest.graphs:
        bundle.graph_file(graph, name)
    if name == "onnx":
        from sdkit.runtime.engines.onnx_runtime import OnnxBackend

        return OnnxBackend(bundle, device, threads)
    from sdkit.runtime.engines.torchscript import TorchScriptBackend

    return TorchScriptBackend(bundle, device, threads)
