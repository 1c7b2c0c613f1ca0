"""`make bench`: runs the benchmarks, prints one table as in bench/README.md, writes `bench/results.json`.

Trust the ratios; the absolute figures depend on the machine and the day. Servers run on the first core, the load on the
second. `ARGS="--only throughput,growth"` runs only these; `python -m bench.crash` is separate.
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
    "queue",
    "chains",
    "growth",
    "pages",
    "upkeep",
    "postgres",
    "move",
)
"""Modules of `bench`; the `rows()` of each returns its lines of the table."""

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Run the benchmarks, print the table, write the results."""
    arguments = argparse.ArgumentParser(prog="make bench", description="Run the benchmarks.")
    arguments.add_argument(
        "--only", metavar="NAMES", help=f"Run only these, separated by commas: {', '.join(BENCHES)}."
    )
    arguments.add_argument(
        "--callbacks", type=int, metavar="N", help="How many callbacks `throughput` sends in each run."
    )
    asked = arguments.parse_args()
    names = tuple(asked.only.split(",")) if asked.only else BENCHES
    if unknown := set(names) - set(BENCHES):
        arguments.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    os.sched_setaffinity(0, LOAD_CORE)
    found: dict[str, list[TableRow]] = {}
    for name in names:
        if importlib.util.find_spec(f"bench.{name}") is None:
            print(f"{name}: skipped, the module is not installed", file=sys.stderr)
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
    """The rows as a Markdown table, headed by where and when they were measured."""
    lines = [f"| {where} | | |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(f"bench: {error}")
