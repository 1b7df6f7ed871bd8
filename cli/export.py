"""`sdkit export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdkit.cli.hints import command
from sdkit.cli.options import Force, Json
from sdkit.cli.screen import print_json, reporter, say


def export(
    run: Annotated[Path | None, typer.Argument(help="Run to export; SDKIT_RUN or the newest by default.")] = None,
    format_: Annotated[
        Literal["onnx", "torchscript", "all"], typer.Option("--format", help="Format of the graphs.")
    ] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle to write; RUN/bundle by default.")
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset, 17 to 20.")] = 18,
    weights: Annotated[
        Literal["best", "last"], typer.Option(help="Weights to export: best has the lowest validation loss.")
    ] = "best",
    precision: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(help="Precision of the graphs that gain by it: int8 (quantised) for CPUs, float16 for GPUs."),
    ] = "float32",
    calibration: Annotated[
        Path | None, typer.Option(help="Sequences to calibrate int8 on; the run's training data by default.")
    ] = None,
    calibration_count: Annotated[
        int,
        typer.Option(
            "--calibration-count", min=1, help="Number of sequences of the training split to calibrate int8 on."
        ),
    ] = 64,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="With int8 or float16: evaluate graphs and model, and store both figures.")
    ] = False,
    web: Annotated[
        Path | None,
        typer.Option(help="Write a page that runs the bundle in a browser to this folder; a bundle that fits is kept."),
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Sequence file to show on the page of --web; the run's own data by default.")
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            "--onnxruntime-web", help="Folder of the npm package onnxruntime-web, for --web; fetched by npm by default."
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(help="Write a model repository for Triton to this folder; a bundle that fits is kept."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Export a run as a bundle of graphs, proven equal to the model; --web and --triton write files for those hosts."""
    import sdkit
    from sdkit.cli.parity import print_report
    from sdkit.export.hosts.triton import write_triton
    from sdkit.export.hosts.web import ready_bundle, training_data, write_page
    from sdkit.export.proof.parity import read_report
    from sdkit.runtime.errors import ConfigError
    from sdkit.runtime.storage.output import check_output

    if web is None and (samples or onnxruntime_web):
        raise ConfigError("--samples and --onnxruntime-web belong to --web")
    if metrics:
        from sdkit.experiments.metric_parity import metrics_of

    for target in (web, triton):
        if target is not None:
            check_output(target, force=force)
            if format_ == "torchscript":
                what = "the page of --web" if target == web else "the repository of --triton"
                raise ConfigError(f"{what} runs ONNX graphs; pass --format onnx or all")
    extra = web is not None or triton is not None
    ready = ready_bundle(run, output, weights, precision) if extra and not force else None
    bundle = ready or sdkit.export_bundle(
        run,
        output,
        format=format_,
        opset=opset,
        weights=weights,
        precision=precision,
        calibration=calibration,
        calibration_count=calibration_count,
        metrics=metrics_of(run, calibration, reporter=reporter()) if metrics else None,
        force=force,
        reporter=reporter(),
    )
    report = read_report(bundle)
    if as_json:
        print_json({"bundle": str(bundle.path), **report.summary()})
    elif ready is None:
        print_report(report)
    if not extra:
        say(f"exported {bundle.path}; next: {_next(bundle.manifest.capabilities, bundle.path)}")
    if triton is not None:
        models = write_triton(bundle, triton, force=force)
        say(f"wrote {models} from {bundle.path}; next: tritonserver --model-repository {models}")
    if web is not None:
        page = write_page(bundle, web, samples=samples or training_data(run), engine=onnxruntime_web, force=force)
        say(f"wrote {page} from {bundle.path}; next: {command(['serve', page])}")


def _next(capabilities: tuple[str, ...], bundle: Path) -> str:
    """Return a command to go on with, which needs nothing but the bundle."""
    return command(["generate", "-b", bundle] if "generate" in capabilities else ["info", bundle])
