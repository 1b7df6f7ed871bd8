"""MODEL_CARD.md of a bundle."""

from sdkit.export.proof.parity import Report
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import GraphSpec

MOST = 500
"""Most letters of a text of a data set."""


def model_card(manifest: Manifest, report: Report) -> str:
    """Return the card's text: what the model is, where it comes from, how to use it, what was proven."""
    p, widths = manifest.provenance, manifest.widths
    onnx = "onnx" in manifest.formats
    lines = [
        f"# {p.run}: {_kind(manifest)} of {_cell(p.data) or 'sequences'}",
        "",
        _about(manifest),
        f"It was made by sdkit {p.sdkit_version}; `manifest.json` is its contract.",
        "",
        "| | |",
        "|---|---|",
        f"| element | {manifest.element.describe()} |",
        f"| codes | static S = {widths.static_size}, dynamic D = {widths.dynamic_size} a step |",
        f"| method | {manifest.method}{f', variant {manifest.variant}' if manifest.variant else ''} |",
        f"| verbs | {', '.join(manifest.capabilities)} |",
        *[f"| no {verb} | {reason} |" for verb, reason in manifest.refusals.items()],
        f"| trained on | {_cell(p.data) or 'unknown'}, T = {manifest.steps}, {p.epochs} epochs, seed {p.seed}"
        f"{f', preset {p.preset}' if p.preset else ''} |",
        f"| source of the data | {_cell(p.data_source) or 'not stated'} |",
        f"| licence of the data | {_cell(p.data_licence) or 'not stated'} |",
        f"| weights | {p.weights}, SHA-256 `{p.weights_sha256}` |",
        f"| precision | {_precision(manifest)} |",
        f"| exported | {p.created}, torch {p.torch_version}, formats: {', '.join(manifest.formats)} |",
        "",
        "## Use",
        "",
        "```python",
        "from sdkit.runtime import Runtime",
        f'rt = Runtime.open("."{"" if onnx else ", backend=" + chr(34) + "torchscript" + chr(34)})',
        *[line for verb, line in _use(manifest).items() if verb in manifest.capabilities],
        "```",
        "",
        "## Graphs",
        "",
        "B and T are free: T >= 2, and 1 in a live stream. A sample is mean + std * noise everywhere.",
        "",
        "| graph | inputs | outputs |",
        "|---|---|---|",
        *[
            f"| {name} | {_tensors(graph, 'inputs')} | {_tensors(graph, 'outputs')} |"
            for name, graph in manifest.graphs.items()
        ],
        "",
        "## Parity",
        "",
        f"Every graph and verb was compared with {report.reference} at export; `sdkit verify` repeats it.",
        "",
        "| candidate | results compared | largest difference, codes | largest difference, decoded data |",
        "|---|---|---|---|",
        *_parity(report),
        "",
        *_price(report),
        "## Limits",
        "",
        *_limits(manifest),
        "",
    ]
    return "\n".join(lines)


def _kind(manifest: Manifest) -> str:
    return "a static/dynamic split" if "swap" in manifest.capabilities else f"a model ({manifest.method})"


def _about(manifest: Manifest) -> str:
    """Return what the model does: one that does not infer both codes splits nothing."""
    if "swap" in manifest.capabilities:
        return "This bundle splits a sequence into one static code (what stays) and a dynamic code a step (what moves)."
    reason = manifest.refusals.get("swap", "this model cannot swap")
    if "encode" in manifest.capabilities:
        return (
            f"This bundle encodes a sequence to codes, and does not split it into what stays and what moves: {reason}."
        )
    return f"This bundle draws sequences, and encodes none: {reason}."


def _limits(manifest: Manifest) -> list[str]:
    lines = []
    if "swap" in manifest.capabilities:
        lines = [
            "The split is learned without labels: nothing guarantees which factor goes where. Judge it on your own",
            "data, by swaps (`sdkit swap A.h5 B.h5` draws a picture of them).",
        ]
    if "encode" in manifest.capabilities:
        return [*lines, "Sequences unlike the training data are encoded without a warning."]
    return [*lines, "What is drawn resembles the training data at best; nothing says how well."]


def _cell(text: str) -> str:
    """Return text of a data set for a table: on one line, cut, and without what ends a cell."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text[:MOST])
    return clean.replace("|", "\\|") + ("..." if len(text) > MOST else "")


def _use(manifest: Manifest) -> dict[str, str]:
    """Return a line of Python for the verbs that a reader tries first."""
    steps = manifest.steps if manifest.max_steps is None else min(manifest.steps, manifest.max_steps)
    return {
        "encode": f"codes = rt.encode(x)  # x {_shape(('B', 'T', *manifest.element.shape))} {manifest.element.dtype}",
        "swap": "a_with_b, b_with_a = rt.swap(xa, xb)",
        "generate": f"clips = rt.generate(16, steps={steps}, seed=0)",
        "stream": "step = rt.stream(len(x)).push(x[:, 0])  # live, an element a call: step.static, .dynamic, .x",
    }


def _tensors(graph: GraphSpec, side: str) -> str:
    return "<br>".join(f"`{t.name}` {_shape(t.shape)} {t.dtype}" for t in getattr(graph, side))


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _precision(manifest: Manifest) -> str:
    """Return the precision, and which graphs have it where some do not."""
    lower = [name for name in manifest.graphs if manifest.precision_of(name) == manifest.precision]
    if manifest.precision == "float32":
        return "float32"
    others = [name for name in manifest.graphs if name not in lower]
    return f"{manifest.precision}: {', '.join(lower)}" + (f"; float32: {', '.join(others)}" if others else "")


NOTES = {
    "int8": [
        "Weights and activations of 8 bits are for CPUs. An LSTM's inputs are quantised as they come, all sequences",
        "of a call together, so that a code depends a little on the others in its batch.",
    ],
    "float16": [
        "Graphs of float16 are for GPUs. The errors were measured on a CPU, where ONNX Runtime keeps float16 values",
        "but computes in float32, slower than float32 graphs do; `sdkit verify --device cuda` proves them on a GPU.",
    ],
}


def _price(report: Report) -> list[str]:
    """Return a section on what a lower precision costs; nothing for float32."""
    if report.precision == "float32":
        return []
    lines = ["## Precision", "", *NOTES[report.precision], ""]
    if report.errors is not None:
        errors = report.errors
        calibrated = f"; calibrated on {errors.calibrated_on} of the training split" if errors.calibrated_on else ""
        lines += [
            f"Against float32, on {errors.sequences} sequences held out of {errors.data}{calibrated}:",
            "",
            "| result | mean error | root mean square | largest |",
            "|---|---|---|---|",
            *[
                f"| {line.result} | {line.mean_rel:.2%} | {line.rms_rel:.2%} | {line.max_rel:.2%} |"
                for line in errors.lines
            ],
            "",
        ]
    if report.metrics:
        lines += ["| evaluation | this bundle | float32 |", "|---|---|---|"]
        lines += [
            f"| {name} | {metric.value:.4g} | {metric.reference:.4g} |" for name, metric in report.metrics.items()
        ]
        lines += [""]
    return lines


def _parity(report: Report) -> list[str]:
    lines = []
    for candidate in dict.fromkeys(row.candidate for row in report.rows):
        rows = [row for row in report.rows if row.candidate == candidate]
        decoded = [row.max_abs for row in rows if row.result.endswith(("/x", "/a_with_b", "/b_with_a"))]
        codes = [row.max_abs for row in rows if not row.result.endswith(("/x", "/a_with_b", "/b_with_a"))]
        lines.append(f"| {candidate} | {len(rows)} | {max(codes):.2g} | {max(decoded):.2g} |")
    return lines
