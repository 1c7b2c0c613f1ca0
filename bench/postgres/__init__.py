"""What the receiver does over PostgreSQL, beside SQLite and beside itself; `python -m bench --only postgres`.

The cluster is of the benchmark's own, with fsync. `bench.postgres.crash` is separate.
"""

import os
import sys

from bench.postgres.callbacks import callback_rows
from bench.postgres.claims import claim_rows
from bench.postgres.cluster import missing, open_cluster
from bench.postgres.messages import message_rows
from bench.postgres.restarts import restart_rows
from bench.postgres.sends import send_rows
from bench.samples import TableRow


def rows() -> list[TableRow]:
    """The lines of the table; none if there is no PostgreSQL here."""
    if why := missing():
        print(f"postgres: skipped, {why}", file=sys.stderr)
        return []
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # what is started here shares all of them
    try:
        with open_cluster() as cluster:
            found = [*callback_rows(cluster), *send_rows(cluster), *restart_rows(cluster), *message_rows(cluster)]
        return found + claim_rows()
    finally:
        os.sched_setaffinity(0, cores)
