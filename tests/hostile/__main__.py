"""Runs the campaign and prints tables of its classes; faults keep their folders."""

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.hostile.cases import FAULTS, SOUND, Verdict, cases, run
from tests.hostile.corpus import long_inputs, originals
from tests.hostile.interruptions import Found, interruptions
from tests.hostile.server import Server

EVERY = 20.0
"""Seconds between two lines of progress."""


def main() -> int:
    """Run the cases, and return 1 where one shows a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="number of mutated inputs")
    parser.add_argument(
        "--kills", type=int, default=0, help="number of interruptions; races and full disks come with them"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all choices")
    parser.add_argument("--only", default="", help="only inputs whose name contains this text")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to look at one again")
    parser.add_argument("--keep", type=Path, help="folder of the cases that show faults; a temporary one by default")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="sdkit-hostile-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = campaign(folder, given.cases, given.seed, given.only, given.first)
    print(table(found, given.seed))
    broken = interrupted(folder, given.kills, given.seed) if given.kills else []
    faults = sum(not verdict.sound for verdict in found) + sum(bool(one.fault) for one in broken)
    if faults:
        print(f"\n{faults} faults; each has a folder in {folder}")
    return int(bool(faults))


def interrupted(folder: Path, kills: int, seed: int) -> list[Found]:
    """Interrupt commands, print a table of how they ended, and return it."""
    here = folder / "interrupted"
    here.mkdir(exist_ok=True)
    found = []
    for one in interruptions(here, long_inputs(here), kills, seed):
        found.append(one)
        if one.fault:
            print(f"{one.job}, {one.what}: {one.fault[-400:]!r}", flush=True)
    kinds = {"SIG": "signal", "files": "full disk", "two": "race"}
    counts = Counter(
        (one.job, kind, bool(one.fault)) for one in found for of, kind in kinds.items() if one.what.startswith(of)
    )
    print(f"\n{len(found)} interruptions, seed {seed}\n")
    print("| command | " + " | ".join(f"{kind}, faults" for kind in kinds.values()) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    for job in dict.fromkeys(one.job for one in found):
        cells = [
            f"{counts[job, kind, False] + counts[job, kind, True]}, {counts[job, kind, True]}"
            for kind in kinds.values()
        ]
        print(f"| {job} | " + " | ".join(cells) + " |")
    return found


def campaign(folder: Path, count: int, seed: int, only: str = "", first: int = 0) -> list[Verdict]:
    """Run cases in turn and return how they ended."""
    (folder / "originals").mkdir(exist_ok=True)
    chosen = [original for original in originals(folder / "originals") if only in original.format]
    found, told = [], time.monotonic()
    with Server() as server:
        for case in cases(chosen, first + count, seed):
            if case.number < first:
                continue
            verdict = run(case, server, folder / f"case-{case.number:05}", seed)
            found.append(verdict)
            if not verdict.sound:
                where = f"case {case.number}, {case.original.format}, {case.command.split(' -')[0]}"
                print(f"{where}: {verdict.mutation}: {verdict.outcome}: {verdict.detail[:200]!r}", flush=True)
            if time.monotonic() - told > EVERY:
                told = time.monotonic()
                print(f"{len(found)} of {count} cases", file=sys.stderr, flush=True)
    return found


def table(found: list[Verdict], seed: int) -> str:
    """Return the outcomes by format of input, as Markdown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in found:
        counts[verdict.case.original.format][verdict.outcome] += 1
    columns = [*SOUND, *FAULTS]
    lines = [f"{len(found)} cases, seed {seed}", "", "| input | cases | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for name, outcomes in (*sorted(counts.items()), ("all", sum(counts.values(), Counter()))):
        cells = [str(sum(outcomes.values())), *(str(outcomes[column]) for column in columns)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
