"""The receiver beside adnanh/webhook, from Debian's package `webhook`, with a script that inserts a row with sqlite3.

Both answer once the row is in the database, get bodies of the same size over the same number of connections, and run on
one core. The script's database is measured with SQLite's default rollback journal and with a write-ahead log, which is
faster.
"""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import statistics
import tempfile
from operator import truediv
from pathlib import Path

from bench.load import pack_requests, post_request
from bench.processes import free_port, start_process, wait_for_answer
from bench.samples import TableRow, completed_body, fill_store, waiting_tasks
from bench.throughput import ALTERNATIONS, CALLBACKS, callback_requests, load_server, measure_server

THEIRS = 400  # callbacks per alternation: some seconds
JOURNALS = {"DELETE": "SQLite's defaults", "WAL": "write-ahead log"}
_SCRIPT = """#!/bin/sh
exec sqlite3 -cmd '.timeout 20000' {database} "INSERT INTO callbacks (body) VALUES ('$1')"
"""


def rows() -> list[TableRow]:
    """Our rate beside theirs: medians of the alternations; a line that says so if they are not installed."""
    missing = [name for name in ("webhook", "sqlite3") if shutil.which(name) is None]
    if missing:
        return [("against adnanh/webhook", "skipped", f"not installed: {', '.join(missing)}")]
    runs = [(_receiver_rate(), *(_webhook_rate(journal) for journal in JOURNALS)) for _ in range(ALTERNATIONS)]
    ours, *theirs = zip(*runs, strict=True)
    return [
        (
            f"against adnanh/webhook and a script that inserts a row, {kind}",
            f"{statistics.median(ours):,.0f} / s",
            f"{statistics.median(map(truediv, ours, rates)):.0f} times its {statistics.median(rates):,.0f} / s",
        )
        for kind, rates in zip(JOURNALS.values(), theirs, strict=True)
    ]


def _receiver_rate() -> float:
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        tasks = waiting_tasks(CALLBACKS)
        asyncio.run(fill_store(folder / "receiver.db", tasks))
        pack_requests(callback_requests(tasks), folder / "requests")
        return float(measure_server("held", folder, folder / "requests", CALLBACKS)["rate"])


def _webhook_rate(journal: str) -> float:
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        database = folder / "peer.db"
        with contextlib.closing(sqlite3.connect(database)) as made:
            made.executescript(
                f"PRAGMA journal_mode = {journal}; CREATE TABLE callbacks (id INTEGER PRIMARY KEY, body TEXT)"
            )
        script = folder / "store"
        script.write_text(_SCRIPT.format(database=database))
        script.chmod(0o700)
        hook = {
            "id": "store",
            "execute-command": str(script),
            "include-command-output-in-response": True,  # otherwise it answers before the script has run
            "pass-arguments-to-command": [{"source": "raw-request-body"}],
        }
        (folder / "hooks.json").write_text(json.dumps([hook]))
        pack_requests(
            (post_request("/hooks/store", completed_body(f"peer{number}")) for number in range(THEIRS)),
            folder / "requests",
        )
        port = free_port()
        with start_process("webhook", "-hooks", f"{folder}/hooks.json", "-ip", "127.0.0.1", "-port", str(port)):
            wait_for_answer(port, "/")
            figures = load_server(port, folder / "requests")
        with contextlib.closing(sqlite3.connect(database)) as kept:
            [(count,)] = kept.execute("SELECT count(*) FROM callbacks WHERE json_valid(body)")
    if count != THEIRS or figures["statuses"] != {"200": THEIRS}:
        raise SystemExit(f"webhook stored {count} of {THEIRS}, and answered {figures['statuses']}")
    return float(figures["rate"])
