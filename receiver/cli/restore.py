"""`receiver restore`: replaces the database with a backup while the service is stopped."""

import os
import shlex
from pathlib import Path

import click

from receiver import config
from receiver.cli.money_text import show_usd
from receiver.cli.output import echo_json, json_option, name_config_option, pluralize
from receiver.cli.streams import echo
from receiver.client.views import rfc3339_or_none
from receiver.clocks import wall_clock
from receiver.core.errors import DatabaseLocked, SettingsError
from receiver.core.money import parse_usd
from receiver.upkeep import backup
from receiver.upkeep.backup import RestoreResult


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--keep-queue",
    is_flag=True,
    help="Submit what was queued in the backup. What was submitted since is then paid for twice.",
)
@name_config_option("config_file")
@json_option
def restore(*, file: Path, keep_queue: bool, config_file: Path | None, as_json: bool) -> None:
    """Replace the database with the backup FILE, and keep the old database aside. Stop the service first.

    FILE was made by `receiver backup`, or is a plain copy of a database: put its -wal file and the secret keys beside
    it.
    """
    settings = config.load_settings(os.environ, config_file, upkeep=True)
    path = settings.sqlite_file
    if path is None:
        raise SettingsError(
            f"the database is PostgreSQL ({settings.database_place}), which `receiver restore` does not replace",
            remedy="stop all processes and run `pg_restore --clean --if-exists --no-owner "
            f"--dbname={shlex.quote(settings.postgres_address)} receiver.dump`; then start `receiver serve --role web` "
            "alone and run `receiver queue pause`, or what was submitted after the dump is submitted, and paid for, "
            "once more",
        )
    try:
        done = backup.restore_backup(
            file, path, settings.state_dir, given_keys=settings.secret_keys, clock=wall_clock, queue=keep_queue
        )
    except DatabaseLocked:
        raise click.ClickException(f"the service is running on {path}: stop it, and run this again") from None
    if as_json:
        return echo_json(done)
    has_budget = settings.budget_day is not None or settings.budget_month is not None
    return echo("\n".join(_summary_lines(done, path, file, has_budget=has_budget)))


def _summary_lines(done: RestoreResult, path: Path, file: Path, *, has_budget: bool) -> list[str]:
    made = f", made {rfc3339_or_none(done.made_at)}" if done.made_at is not None else ", a plain database"
    lines = [f"{path.resolve()} has {pluralize(done.tasks, 'task')} again, schema {done.schema}, from {file}{made}"]
    if done.log_pages:
        lines.append(f"{pluralize(done.log_pages, 'page')} of it came from {file}-wal")
    if done.log_left_out:
        lines.append(
            f"{file}-wal ends in the middle of a transaction: {pluralize(done.log_left_out, 'page')} of it could not "
            "be restored. A service that was killed leaves this, and had not answered what is in it. If the file may "
            "have been cut short, copy both again and restore once more"
        )
    if done.aside:
        lines.append(f"the old database is now {done.aside}: remove it when you are sure")
    lines += _money_lines(done, has_budget=has_budget)
    if done.keys_new and done.keys_added:
        lines.append(f"secret keys: {done.keys_added}, from the backup")
    elif done.keys_added:
        lines.append(
            f"secret keys: {done.keys_added} from the backup, added behind those here; remove any that you retired"
        )
    if not done.keys_found:
        lines.append("it had no secret keys: without those of that time, callback URLs already given out are refused")
    if done.images:
        lines.append(f"{pluralize(done.images, 'file')} of pictures restored")
    if done.unsure:
        lines.append(
            f"{pluralize(done.unsure, 'queued task')} may have been submitted since: now unsure, and only submitted "
            "again by `receiver tasks resubmit REF`"
        )
    if done.batches_closed:
        lines.append(
            f"{pluralize(done.batches_closed, 'open batch', 'open batches')} may have taken rows since: now closed, "
            "and `receiver submit batch --reopen` adds to one, at the risk of paying for a row twice"
        )
    lines.append(
        "batches that were begun since are not known: for a week, `receiver submit batch` asks before it sends a new "
        "one, which may be one of those"
    )
    lines.append("start the service; a callback for a task that is newer than the backup creates it again")
    return lines


def _money_lines(done: RestoreResult, *, has_budget: bool) -> list[str]:
    if done.spent_since is None and has_budget:
        return [
            "what was spent since the backup is not in its books, and budgets do not count it: if that was today or "
            "in this month, set BUDGET_DAY or BUDGET_MONTH lower until they are over"
        ]
    if parse_usd(done.spent_since or ""):
        spent = show_usd(done.spent_since or "")
        return [f"{spent} was spent since, as the old database says: budgets count it, and `receiver costs` as lost"]
    return []
