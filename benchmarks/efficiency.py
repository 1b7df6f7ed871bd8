"""`sdkit bench` on a file of puppets: what share of its bound each file verb reaches.

python -m benchmarks.efficiency [--run RUN] [--data x.h5] [--count 2048] [--rounds 3]
"""

from pathlib import Path

import msgspec

from benchmarks.common import make_run, model_options, parser, puppets, save, say, table
from sdkit.cli.screen import reporter
from sdkit.runtime.measure.bench import bench


def main() -> None:
    made = parser(__doc__, "efficiency")
    model_options(made)
    made.add_argument("--data", type=Path, help="sequence file; puppets when not given")
    made.add_argument("--count", type=int, help="number of sequences of each verb; by default chosen to take --seconds")
    made.add_argument("--seconds", type=float, default=4.0, help="seconds that a verb should take (%(default)s)")
    arguments = made.parse_args()
    run = make_run(arguments.work, arguments.run)
    data = arguments.data or puppets(arguments.work, max(4096, arguments.count or 0))
    found = bench(
        run.bundle,
        data,
        device="cpu",
        threads=arguments.threads,
        count=arguments.count,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        profile=True,
        folder=arguments.work,
        reporter=reporter(),
    )
    rows = []
    for verb, speed in found.verbs.items():
        rates = ["-" if rate is None else f"{rate:,.0f}" for rate in (speed.read, speed.compute, speed.write)]
        cells = (f"{speed.sequences:,}", f"{speed.sequences_a_second:,.0f}", *rates, speed.bounded_by)
        rows.append((verb, *cells, f"{speed.fraction:.0%}"))
    print(table(("verb", "sequences", "rate", "read", "compute", "write", "bound by", "reached"), rows))
    say("rates are sequences a second")
    told = msgspec.to_builtins(found)
    told.update(bundle="sprites preset", data="puppets" if arguments.data is None else arguments.data.name)
    save(arguments.json, "efficiency", {"bench": told})


if __name__ == "__main__":
    main()
