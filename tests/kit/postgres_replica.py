"""A second server that follows a cluster of ours, and can take its place."""

import subprocess
import time
from typing import Self

from kit.live_service import PATIENCE_S
from kit.postgres_cluster import ROLE, PostgresCluster, another_user

REPLICA = "replica"


class PostgresReplica(PostgresCluster):
    """A server that begins with all that `primary` has, and follows it under the name `name`. `with` starts it."""

    def __init__(self, primary: PostgresCluster, name: str = REPLICA) -> None:
        super().__init__(durable=True)
        self._primary = primary
        self._where = f"host={primary.folder} port={primary.port} user=postgres application_name={name}"

    def __enter__(self) -> Self:
        try:
            self.make()
            self.start({"primary_conninfo": self._where, "wal_retrieve_retry_interval": "100ms"})
        except BaseException:
            self.close()
            raise
        return self

    def make(self) -> None:
        """Copy the primary's files."""
        command = [str(self.programs / "pg_basebackup"), "--dbname", self._where, "--pgdata", str(self.data)]
        command += ["--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **another_user())
        assert done.returncode == 0, done.stderr

    def catch_up(self) -> None:
        """Return once it has all that the primary has now."""
        [[position]] = self._primary.execute("SELECT pg_current_wal_lsn()")
        _until_true(self, f"SELECT pg_last_wal_replay_lsn() >= '{position}'")

    def cut_off(self) -> None:
        """Let it follow no more."""
        self.restart("fast", {"primary_conninfo": ""})

    def promote(self) -> None:
        """Have it take the primary's place; it can be written when this returns."""
        assert self.execute("SELECT pg_promote(true, 120)") == [["t"]]

    def url_of_either(self, database: str) -> str:
        """How the product reaches whichever of the two can be written."""
        beginning = self._primary.url("").partition(f"@127.0.0.1:{self._primary.port}")[0]
        assert ROLE in beginning
        hosts = f"127.0.0.1:{self._primary.port},127.0.0.1:{self.port}"
        return f"{beginning}@{hosts}/{database}?target_session_attrs=read-write"


def wait_for(primary: PostgresCluster, name: str = REPLICA) -> None:
    """From now on, let the primary's commits wait for the replica of this name, which follows."""
    primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    primary.execute("SELECT pg_reload_conf()")
    _until_true(
        primary, f"SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication WHERE application_name = '{name}'"
    )


def _until_true(cluster: PostgresCluster, sql: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while cluster.execute(sql) != [["t"]]:
        assert time.monotonic() < end, f"never true: {sql}"
        time.sleep(0.02)
