"""Memory of encode on a file of 10 GB against one of 1 GB, each in a separate process.

    python -m benchmarks.memory [--gigabytes 1 10] [--whole-model]

Sizes are those of the sequences in memory; in the file their chunks repeat, under gzip. The model has the sprites
preset's elements and codes, but convolutions of eight channels, so that 10 GB take one minute instead of several: the
memory for the files is the same, and --whole-model measures that of the preset's own networks.
"""

import tempfile
from pathlib import Path

from benchmarks.common import make_run, model_options, parser, puppets, save, say, table
from sdkit.runtime.measure.fresh_process import in_fresh_process

SEQUENCE_BYTES = 8 * 3 * 64 * 64
NARROW = {"encoder_widths": [8, 8, 8, 8, 8], "decoder_widths": [8, 8, 8, 8]}


def main() -> None:
    made = parser(__doc__, "memory", rounds=None)
    model_options(made)
    made.add_argument("--gigabytes", type=float, nargs="+", default=[1.0, 10.0])
    made.add_argument("--whole-model", action="store_true", help="use the sprites preset's own convolutions")
    arguments = made.parse_args()
    if arguments.whole_model or arguments.run:
        bundle = make_run(arguments.work, arguments.run).bundle
    else:
        bundle = make_run(arguments.work, name="narrow", settings=NARROW).bundle
    found = []
    for gigabytes in arguments.gigabytes:
        count = round(gigabytes * 1e9 / SEQUENCE_BYTES)
        data = puppets(arguments.work, count)
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            say(f"encoding {gigabytes:g} GB")
            told = in_fresh_process(
                "verb",
                bundle=str(bundle),
                opening={"device": "cpu", "threads": arguments.threads},
                name="encode",
                arguments={"source": str(data), "target": str(Path(folder) / "codes.h5")},
            )
        on_disk = data.stat().st_size
        found.append({"gigabytes": gigabytes, "sequences": count, "bytes_on_disk": on_disk, **told})
        if count > 2000:
            data.unlink()
    rows = [
        (f"{p['gigabytes']:g}", f"{p['sequences']:,}", f"{p['seconds']:.1f}", f"{p['opened']:.0f}", f"{p['peak']:.0f}")
        for p in found
    ]
    print(table(("GB", "sequences", "seconds", "MiB with open graphs", "peak MiB"), rows))
    model = "whole" if arguments.whole_model or arguments.run else "narrow"
    save(arguments.json, "memory", {"settings": {"model": model, "threads": arguments.threads}, "files": found})


if __name__ == "__main__":
    main()
