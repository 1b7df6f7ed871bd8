"""Tables and plots of docs/performance.md, from the numbers that the benchmarks wrote to results/.

    python -m benchmarks.report [--results FOLDER] [--page docs/performance.md]

Text between `<!-- begin NAME -->` and `<!-- end NAME -->` is rewritten, all other text stays.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RESULTS, medians, say, table
from benchmarks.compare import EAGER, FLOAT32, OURS
from sdkit.figures.style import BLUE, FAINT, INK, SMALL_SIZE, VERMILION, caption, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Found = dict[str, Any]
"""Results by name of the benchmark; those that were not run are absent."""
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
NOT_YET = "not yet measured"
LAST_BF16 = "PyTorch bf16, channels_last"
QUIET = 0.1
"""Number of processors that others may keep busy while the machine still counts as quiet."""


def load(folder: Path) -> Found:
    """Return the benchmark results of a folder."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def heading(result: dict[str, Any]) -> str:
    """Return the command that printed a table, the machine, and whether the machine was quiet."""
    machine = result["machine"]
    versions = machine["versions"]
    named = [f"{name} {versions[name]}" for name in ("torch", "onnxruntime", "h5py") if name in versions]
    where = f"{machine['processors']} processors ({machine['processor']})"
    others = machine.get("others")
    noise = ""
    if others is not None and others > QUIET:
        noise = f" **Not a quiet machine**: other processes kept {others:.1f} processors busy meanwhile."
    return f"`{result['command']}`; {where}, {', '.join(named)}.{noise}\n\n"


def ratio(found: Found, verb: str, slow: str | None, fast: str) -> float | None:
    """Return by what factor one way of a verb is faster than another, or than the best of PyTorch in float32."""
    times = found.get("compare", {}).get("verbs", {}).get(verb, {}).get("seconds")
    if times is None or fast not in times:
        return None
    middle = medians(times)
    if slow is not None:
        return middle[slow] / middle[fast] if slow in middle else None
    return min(middle[name] for name in FLOAT32 if name in middle) / middle[fast]


def floors(found: Found) -> str:
    """Return the table of floors: the required figure, the measured one, and whether it suffices."""
    rows = [
        _at_least("encode, HDF5 to HDF5, float32, against eager PyTorch", 3, ratio(found, "encode", EAGER, OURS)),
        _at_least("encode against the best float32 PyTorch variant", 1.7, ratio(found, "encode", None, OURS)),
        _at_least("swap, float32, against eager PyTorch", 2.3, ratio(found, "swap", EAGER, OURS)),
        _at_least("swap, int8, against eager PyTorch", 4, ratio(found, "swap", EAGER, f"{OURS} int8")),
        _at_least("encode, int8, against bf16 channels_last", 1.8, ratio(found, "encode", LAST_BF16, f"{OURS} int8")),
        _at_least("generate against an eager PyTorch loop", 2, ratio(found, "generate", EAGER, OURS)),
        *[_efficiency(found, verb) for verb in ("encode", "swap", "generate")],
        *_memory(found),
        *_latency(found),
        ("GPU: encode against the slowest of disk, PCIe and compute", "0.7", NOT_YET, ""),
        ("GPU: encode against eager PyTorch", "3 times", NOT_YET, ""),
    ]
    return table(("what", "floor", "measured", "met"), rows)


def _at_least(what: str, floor: float, value: float | None) -> tuple[str, str, str, str]:
    if value is None:
        return what, f"{floor:g} times", NOT_YET, ""
    return what, f"{floor:g} times", f"{value:.2f} times", _met(value >= floor)


def _efficiency(found: Found, verb: str) -> tuple[str, str, str, str]:
    what = f"{verb}: rate of the pipeline over its bound"
    if "efficiency" not in found:
        return what, "0.9", NOT_YET, ""
    speed = found["efficiency"]["bench"]["verbs"][verb]
    return what, "0.9", f"{speed['fraction']:.2f} (bound by {speed['bounded_by']})", _met(speed["fraction"] >= 0.9)


def _memory(found: Found) -> Iterator[tuple[str, str, str, str]]:
    what = "memory of encode, 10 GB against 1 GB", "memory of encode, 10 GB"
    if "memory" not in found:
        yield what[0], "within 50 MB", NOT_YET, ""
        yield what[1], "under 700 MB", NOT_YET, ""
        return
    files = sorted(found["memory"]["files"], key=lambda file: float(file["gigabytes"]))
    mb = [file["peak"] * (1 << 20) / 1e6 for file in (files[0], files[-1])]
    yield what[0], "within 50 MB", f"{mb[1] - mb[0]:+.0f} MB", _met(mb[1] - mb[0] < 50)
    yield what[1], "under 700 MB", f"{mb[1]:.0f} MB", _met(mb[1] < 700)


def _latency(found: Found) -> Iterator[tuple[str, str, str, str]]:
    what = "encode, B = 1, T = 8, p50, against eager PyTorch"
    start = "import, bundle open and first encode in a fresh process"
    if "latency" not in found:
        yield what, "2 times", NOT_YET, ""
        yield start, "under 1 s, no torch", NOT_YET, ""
        return
    p50 = medians(found["latency"]["milliseconds"])
    yield _at_least(what, 2, p50[EAGER] / p50[OURS])
    starts = found["latency"]["starts"]
    total = statistics.median(one["total"] for one in starts)
    loaded = sorted({name for one in starts for name in one["loaded"]})
    told = f"{total:.2f} s, {'no torch' if 'torch' not in loaded else 'torch loaded'}"
    yield start, "under 1 s, no torch", told, _met(total < 1 and "torch" not in loaded)


def _met(good: bool) -> str:
    return "yes" if good else "**no**"


def compare(found: Found) -> str:
    """Return a table for each verb."""
    from benchmarks.compare import report

    result = found["compare"]
    settings = result["settings"]
    text = (
        f"{heading(result)}Data: {settings['data']}, B = {settings['batch']} (sdkit chooses its own), outputs under "
        f"{settings['compression']}; medians of {settings['rounds']} rounds.\n\n"
    )
    return text + "\n\n".join(report(verb, told) for verb, told in result["verbs"].items())


def efficiency(found: Found) -> str:
    """Return the pipeline's rates beside their bounds."""
    result = found["efficiency"]
    told = result["bench"]
    rows = []
    for verb, speed in told["verbs"].items():
        rates = ["-" if speed[part] is None else f"{speed[part]:,.0f}" for part in ("read", "compute", "write")]
        rate = f"{speed['sequences_a_second']:,.0f}"
        rows.append((verb, f"{speed['sequences']:,}", rate, *rates, speed["bounded_by"], f"{speed['fraction']:.2f}"))
    head = ("verb", "sequences", "pipeline", "read alone", "graphs alone", "write alone", "bound by", "of the bound")
    peaks = ", ".join(f"{verb} {memory['peak']:.0f} MiB" for verb, memory in told["memory"].items())
    return (
        f"{heading(result)}Sequences of T = {told['steps']} a second, B = {told['batch_size']}, medians of "
        f"{told['rounds']} rounds.\n\n{table(head, rows)}\n\nPeak memory of a fresh process: {peaks}."
    )


def profile(found: Found) -> str:
    """Return the operators that take most of each graph's time."""
    told = found["efficiency"]["bench"]
    rows = [
        (graph["graph"] if number == 0 else "", operator["type"], f"{operator['milliseconds']:.2f}",
         f"{operator['share']:.1%}", f"{operator['calls']:g}")
        for graph in told["profile"]
        for number, operator in enumerate(graph["operators"][:3])
    ]  # fmt: skip
    head = ("graph", "operator", "ms a run", "share", "calls")
    return f"One run is a batch of B = {told['batch_size']}, T = {told['steps']}.\n\n{table(head, rows)}"


def growth(found: Found) -> str:
    """Return a table for each axis."""
    from benchmarks.growth import report

    result = found["growth"]
    return heading(result) + "\n\n".join(report(name, points) for name, points in result["axes"].items())


def memory(found: Found) -> str:
    """Return memory by the size of the file."""
    result = found["memory"]
    rows = [
        (f"{one['gigabytes']:g}", f"{one['sequences']:,}", f"{one['bytes_on_disk'] / 1e6:,.0f}",
         f"{one['seconds']:.1f}", f"{one['opened']:.0f}", f"{one['peak']:.0f}")
        for one in result["files"]
    ]  # fmt: skip
    head = ("GB in memory", "sequences", "MB on disk", "seconds", "MiB with open graphs", "peak MiB")
    return heading(result) + table(head, rows)


def latency(found: Found) -> str:
    """Return latencies and start-up."""
    result = found["latency"]
    times = result["milliseconds"]
    p50 = medians(times)
    rows = []
    for name, spent in times.items():
        p95 = sorted(spent)[min(len(spent) - 1, round(0.95 * len(spent)))]
        rows.append((name, f"{p50[name]:.2f}", f"{p95:.2f}", f"{p50[EAGER] / p50[name]:.2f}"))
    parts = ("import_runtime", "open_bundle", "first_encode", "total")
    middle = [f"{statistics.median(one[part] for one in result['starts']):.2f}" for part in parts]
    eager = f"{statistics.median(result['starts_of_pytorch']):.2f}"
    starts = [("sdkit", *middle), ("PyTorch eager", "", "", "", eager)]
    return (
        heading(result)
        + table(("encode, B = 1, T = 8", "p50 ms", "p95 ms", "times eager"), rows)
        + "\n\n"
        + table(("fresh process, seconds", "import", "open bundle", "first encode", "total"), starts)
    )


def live_stream(found: Found) -> str:
    """Return the time of a frame in a live stream."""
    result = found["live_stream"]
    settings = result["settings"]
    p50 = medians(result["milliseconds"])
    rows = [
        (name, f"{value:.2f}", f"{value / (1 if name == 'push' else settings['frames']):.3f}")
        for name, value in p50.items()
    ]
    head = (f"{settings['frames']} frames, {settings['element']}", "p50 ms", "p50 ms a frame")
    return heading(result) + table(head, rows)


def training_step(found: Found) -> str:
    """Return the time of a training step."""
    result = found["training_step"]
    middle = medians(result["seconds"])
    rows = [(name, f"{value:.3f}", f"{middle['float32'] / value:.2f}") for name, value in middle.items()]
    return heading(result) + table(("variant", "median s a step", "times faster than float32"), rows)


BLOCKS: dict[str, tuple[str, Callable[[Found], str]]] = {
    "floors": ("", floors),
    "compare": ("compare", compare),
    "efficiency": ("efficiency", efficiency),
    "profile": ("efficiency", profile),
    "growth": ("growth", growth),
    "memory": ("memory", memory),
    "latency": ("latency", latency),
    "live_stream": ("live_stream", live_stream),
    "training_step": ("training_step", training_step),
}
"""Blocks of the page: the benchmark that a block shows, and the function that writes it."""


def written(page: str, found: Found) -> str:
    """Return the page with every block rewritten.

    Raises:
        ValueError: the page lacks a block.
    """
    for name, (benchmark, block) in BLOCKS.items():
        missing = f"Not yet measured: `python -m benchmarks.{benchmark}`."
        text = block(found) if not benchmark or benchmark in found else missing
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page must have '{begin}' and '{end}' once")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"
    return page


def draw_compare(found: Found) -> "Figure":
    """Return bars of each verb: how many times faster than eager PyTorch."""
    verbs = found["compare"]["verbs"]
    names = list(dict.fromkeys(name for told in verbs.values() for name in told["seconds"]))
    figure = new_figure(3.6 * len(verbs) + 1.2, 0.28 * len(names) + 1.3)
    for number, (axes, (verb, told)) in enumerate(
        zip(figure.subplots(1, len(verbs), squeeze=False)[0], verbs.items(), strict=True)
    ):
        middle = medians(told["seconds"])
        values = [middle[EAGER] / middle[name] if name in middle else 0.0 for name in names]
        colours = [BLUE if name.startswith(OURS) else FAINT for name in names]
        bars = axes.barh(range(len(names)), values, color=colours)
        axes.bar_label(bars, [f"{value:.1f}" if value else "" for value in values], fontsize=SMALL_SIZE, padding=2)
        axes.set(title=verb, xlabel="times faster than eager", xlim=(0, 1.18 * max(values)))
        axes.set_yticks(range(len(names)), names if number == 0 else [""] * len(names))
        axes.invert_yaxis()
        tidy(axes)
    return caption(
        figure,
        "HDF5 to HDF5 on the same file and weights, medians of rounds in which the ways take turns. Grey: PyTorch and "
        "ONNX Runtime as users write them; blue: sdkit.",
        _noise(found["compare"]),
    )


def draw_growth(found: Found) -> "Figure":
    """Return frames a second and peak memory over N, B and T."""
    axes_of = found["growth"]["axes"]
    figure = new_figure(3.6 * len(axes_of), 4.4)
    peaks = [float(point["peak"]) for point in sorted(axes_of["N"], key=lambda point: int(point["value"]))]
    grid = figure.subplots(2, len(axes_of), squeeze=False)
    what = {"N": "sequences, N", "B": "batch size, B", "T": "steps, T"}
    for column, (name, points) in enumerate(axes_of.items()):
        values = [point["value"] for point in points]
        rates = [point["frames"] / point["seconds"] for point in points]
        for row, (drawn, colour, label) in enumerate(
            ((rates, BLUE, "frames a second"), ([point["peak"] for point in points], VERMILION, "peak MiB"))
        ):
            axes = grid[row][column]
            axes.plot(values, drawn, "o-", color=colour)
            axes.set_xscale("log", base=10 if name == "N" else 2)
            axes.set_xticks(values, [f"{value:,}" for value in values])
            axes.minorticks_off()
            axes.set_ylim(0, 1.15 * max(drawn))
            axes.set(xlabel=what[name], ylabel=label if column == 0 else "")
            axes.grid(alpha=0.3, color=INK)
            tidy(axes)
    return caption(
        figure,
        "encode, HDF5 to HDF5, each point in a process of its own.",
        f"From the least N to the greatest, peak memory changes by {peaks[-1] - peaks[0]:+.0f} MiB.",
        _noise(found["growth"]),
    )


def _noise(result: dict[str, Any]) -> str:
    others = result["machine"].get("others")
    busy = others is not None and others > QUIET
    return f"Not a quiet machine: other processes kept {others:.1f} processors busy." if busy else ""


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--results", type=Path, default=RESULTS)
    made.add_argument("--page", type=Path, default=PAGE)
    arguments = made.parse_args()
    found = load(arguments.results)
    page = arguments.page
    page.write_text(written(page.read_text("utf-8"), found), "utf-8")
    for name, draw in (("compare", draw_compare), ("growth", draw_growth)):
        if name in found:
            save(draw(found), page.parent / "pictures" / f"performance-{name}.png")
    say(f"wrote {page}")


if __name__ == "__main__":
    main()
