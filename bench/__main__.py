"""`make bench`: runs the benchmarks, prints one table as bench/README has it, writes `bench/results.json`.

Ratios are the figures to believe; absolute ones are this machine's, on this day. Servers run on the first core, the
load on the second. `ARGS="--only throughput,growth"` runs these alone; `python -m bench.crash` is apart.
"""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from bench.processes import LOAD_CORE
from bench.samples import TableRow

BENCHES = (
    "throughput",
    "peer",
    "latency",
    "drain",
    "start",
    "restart",
    "memory",
    "day",
    "pictures",
    "slow",
    "growth",
    "upkeep",
)
"""Modules of `bench`, each with `rows()`: the lines that it adds to the table."""

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Run, print, write."""
    arguments = argparse.ArgumentParser(prog="make bench", description="Run the benchmarks.")
    arguments.add_argument("--only", metavar="NAMES", help=f"Some of {', '.join(BENCHES)}, with commas.")
    arguments.add_argument("--callbacks", type=int, metavar="N", help="For throughput: longer runs, or shorter ones.")
    asked = arguments.parse_args()
    names = tuple(asked.only.split(",")) if asked.only else BENCHES
    if unknown := set(names) - set(BENCHES):
        arguments.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    os.sched_setaffinity(0, LOAD_CORE)
    found: dict[str, list[TableRow]] = {}
    for name in names:
        if importlib.util.find_spec(f"bench.{name}") is None:
            print(f"{name}: not here", file=sys.stderr)
            continue
        began = time.perf_counter()
        bench = importlib.import_module(f"bench.{name}")
        found[name] = bench.rows(asked.callbacks) if name == "throughput" and asked.callbacks else bench.rows()
        print(
            f"{name}: {time.perf_counter() - began:.0f} s", *map(" | ".join, found[name]), sep="\n  ", file=sys.stderr
        )
    where = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    print(results_table(where, [row for rows in found.values() for row in rows]))
    RESULTS.write_text(json.dumps({"where": where, **found}, indent=2, ensure_ascii=False) + "\n")


def results_table(where: str, rows: list[TableRow]) -> str:
    """The rows in Markdown, under where and when they were measured."""
    lines = [f"| {where} | | |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(f"bench: {error}")
