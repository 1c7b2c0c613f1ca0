"""`receiver doctor`: checks everything that can be wrong around the service, and says what to do about it."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from receiver import config
from receiver.cli.connect import is_local, is_of_unit, token_for
from receiver.cli.main import FAILED
from receiver.cli.output import config_option, echo_json, json_option
from receiver.cli.streams import echo
from receiver.client.client import TRIAL_S, Client
from receiver.client.queue_schemas import QueueView
from receiver.config import SETTINGS, Settings
from receiver.config.generated_secrets import KEYS_FILE, PASSWORD_FILE, TOKENS_FILE, read_generated
from receiver.config.target_urls import simple_name
from receiver.core.errors import ApiError, SettingsError
from receiver.core.sanitize import one_line
from receiver.core.types import NoticeState, TaskState
from receiver.telemetry.logs import Redactor
from receiver.tokens import Ring
from receiver.upkeep.doctor import findings
from receiver.upkeep.doctor.findings import CheckResult, Finding

POSTGRES_MOST_S = 20.0
LINE_MOST = 600  # characters of one finding
_COLOURS = {CheckResult.OK: "green", CheckResult.WARNING: "yellow", CheckResult.FAILED: "red"}
_UNIT_REMEDY = f"to check those, run the doctor as root from another folder, or with --config {config.UNIT_SETTINGS}"
_Check = Callable[[], Iterable[Finding]]


@click.command()
@click.option("--send", is_flag=True, help="Also have the running service send a sample to each target.")
@config_option
@json_option
def doctor(*, send: bool, file: Path | None, as_json: bool) -> None:
    """Check settings, files, disk, database, service, its work, targets, provider key, clock and public URL.

    Prints each finding on a line, with what to do about it. Changes nothing, and is safe while the service runs. Exit
    status 1 if a check failed, not for warnings.
    """
    found: list[Finding] = []
    for finding in _run_checks(file, send=send):
        found.append(finding)
        if not as_json:
            echo(_finding_line(finding))
    if as_json:
        echo_json(found)
    if any(it.result is CheckResult.FAILED for it in found):
        raise click.exceptions.Exit(FAILED)


def _finding_line(finding: Finding) -> str:
    mark = click.style(f"{finding.result:<7}", fg=_COLOURS.get(finding.result))
    text = f"{finding.text}: {finding.remedy}" if finding.remedy else finding.text
    return f"{mark}  {finding.check:<13}  {one_line(text, LINE_MOST)}"


def _run_checks(file: Path | None, *, send: bool) -> Iterator[Finding]:
    """Every finding, the quick ones first. None shows a secret."""
    try:
        settings = _load_settings(file)
    except SettingsError as error:
        remedy = error.remedy or "fix that, and run the doctor again"
        yield Finding("settings", CheckResult.FAILED, error.problem, remedy)
        return
    redactor = Redactor((*config.secret_values(settings), *_generated_secrets(settings)))
    checks = _list_checks(settings) if is_local(settings) else _list_remote_checks(settings)
    looks = [*checks, *(_sample_checks(settings) if send else ())]
    for check, look, most_s in looks:
        for it in findings.run_check(check, look, most_s):
            yield Finding(it.check, it.result, redactor.redact(it.text), it.remedy and redactor.redact(it.remedy))


def _load_settings(file: Path | None) -> Settings:
    """The service's settings, or a client's if the service is elsewhere and the rest does not load here."""
    try:
        return config.load_settings(os.environ, file)
    except SettingsError:
        settings = config.load_settings(os.environ, file, client=True)
        if is_local(settings):
            raise
        return settings


def _list_remote_checks(settings: Settings) -> Iterator[tuple[str, _Check, float]]:
    """What can be checked of a service on another machine. This machine's disk and keys say nothing about it."""
    from receiver.upkeep.doctor import network

    def check_client() -> Iterator[Finding]:
        plain = [it for it in config.warn_of_plain_http(settings) if it.problem.startswith("SERVER ")]
        yield from (findings.warning(it.problem, it.remedy or "") for it in plain)
        place = f"the service is elsewhere, at {settings.server}"
        yield findings.skip(f"{place}: to check its settings, disk, targets and provider, run the doctor there")

    yield "settings", check_client, findings.CHECK_MOST_S
    yield "service", lambda: network.check_service(settings.server, None, remote=True), findings.CHECK_MOST_S
    yield "work", lambda: _check_work(settings), findings.CHECK_MOST_S


def _list_checks(settings: Settings) -> Iterator[tuple[str, _Check, float]]:
    from receiver.upkeep.doctor import machine, network, targets  # half a second to import

    most_s = findings.CHECK_MOST_S
    state, database = settings.state_dir, settings.sqlite_file
    dates: list[tuple[float, float]] = []
    ring = _read_ring(settings)
    named = list(_named_secret_files(settings, os.environ))
    kept = KEYS_FILE, TOKENS_FILE, PASSWORD_FILE
    yield "settings", lambda: _check_settings(settings, ring), most_s
    yield "permissions", lambda: machine.check_permissions(state, database, kept, named), most_s
    yield "password", lambda: _check_password(settings), most_s
    yield "disk", lambda: machine.check_disk(state), most_s
    if database is None:
        yield "database", lambda: _check_postgres(settings), POSTGRES_MOST_S
    else:
        yield "database", lambda: machine.check_database(database, made_by_unit=is_of_unit(settings)), most_s
    yield "service", lambda: network.check_service(settings.server, ring, start=_how_to_start(settings)), most_s
    yield "work", lambda: _check_work(settings), most_s
    yield "targets", lambda: targets.check_targets(settings.targets), most_s
    yield "provider key", lambda: network.check_provider(settings.provider_url, settings.provider_key, dates), most_s
    if settings.provider_key:
        yield "clock", lambda: network.check_clock(dates), most_s
    yield "public URL", lambda: _check_public_url(settings, ring), most_s


def _check_settings(settings: Settings, ring: Ring | None) -> Iterator[Finding]:
    warnings = []
    lost = _lost_settings(settings)
    if lost is not None:
        yield lost
    if (wrong := config.why_unreachable(settings)) and lost is None:
        yield findings.failure(wrong.problem, f"{wrong.remedy or 'set PUBLIC_URL'} ({_read_from(settings)})")
    warnings += [(it.problem, it.remedy or "") for it in config.warn_of_plain_http(settings)]
    broken = [error for error in map(_secret_file_error, _secret_files(settings)) if error]
    if (
        lost is None and ring is None and not broken and not _is_unreadable(settings.state_dir / KEYS_FILE)
    ):  # else see the permissions
        text = f"{_read_from(settings)}; there are no secret keys here yet"
        warnings.append((text, "the service makes them at its first start"))
    if lost is None and settings.source_of("DATABASE_URL") == "default" and _exists_or_closed(config.UNIT_DATABASE):
        text = f"these are not the settings of this machine's unit, whose state is in {config.UNIT_DATABASE.parent}"
        warnings.append((text, _UNIT_REMEDY))
    for error in broken:
        yield findings.failure(error.problem, error.remedy or "the service does not start without it")
    yield from (findings.warning(text, remedy) for text, remedy in warnings)
    if not (wrong or lost or warnings or broken):
        yield findings.ok(f"{_read_from(settings)}; the provider calls back at {settings.public_url}")


def _check_postgres(settings: Settings) -> Iterator[Finding]:
    from receiver.store.postgres.place import PostgresPlace
    from receiver.upkeep.doctor.postgres import check_postgres

    try:
        config.refuse_missing_driver()
    except SettingsError as error:
        yield findings.failure(error.problem, error.remedy or "")
        return
    names = tuple(it.name for it in settings.targets)
    place = PostgresPlace(
        url=settings.database_url, listen_url=settings.database_listen_url, pool=settings.pool, targets=names
    )
    yield from check_postgres(place, settings.database_place)


def _check_password(settings: Settings) -> Iterator[Finding]:
    """Whether the pages can be logged in to with a password."""
    try:
        found = config.read_password_hash(settings)
    except SettingsError as error:
        if _is_unreadable(settings.state_dir / PASSWORD_FILE):
            yield findings.skip("this user may not read the password", "see the finding `permissions` above")
            return
        yield findings.failure(f"nobody can log in to the pages: {error.problem}", error.remedy or "")
        return
    if found is None:
        yield findings.ok("no password is set, so the pages ask for an API token; `receiver password` sets one")
    else:
        yield findings.ok("the pages ask for the password")


def _lost_settings(settings: Settings) -> Finding | None:
    """A finding if there is no settings file, and nothing else says what a service needs to be told: a person is
    probably in the wrong folder, or not root."""
    if _exists_or_closed(settings.place.file) or any(
        settings.source_of(name) != "default" for name in ("PUBLIC_URL", "PROVIDER_URL", "PROVIDER_KEY")
    ):
        return None
    text = f"{_read_from(settings)}, and there is no PUBLIC_URL"
    if os.geteuid() != 0 and _exists_or_closed(config.UNIT_SETTINGS):
        return findings.failure(text, "to check this machine's unit, run the doctor as root")
    how = "run the doctor in the service's folder, or with its --config"
    return findings.failure(text, f"{how}; for a new service, `receiver config --example` prints a file to begin with")


def _how_to_start(settings: Settings) -> str:
    """How the service with these settings is started: as its user, if it has a unit."""
    if is_of_unit(settings):
        return "start it with `systemctl start receiver`"
    named = f" --config {os.path.abspath(settings.place.file)}" if settings.place.named else ""
    return f"start it with `receiver serve{named}`"


def _read_from(settings: Settings) -> str:
    """Which file the settings are from: a person may be in the wrong folder."""
    file = settings.place.file
    if _exists_or_closed(file):
        return f"read from {file.absolute()}"
    return f"no {file} in {Path.cwd()}, so the environment and the defaults apply"


def _exists_or_closed(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # it is there, but closed to us
        return True


def _is_unreadable(path: Path) -> bool:
    """Whether we may not read the file, or not even see whether it exists."""
    try:
        return path.exists() and not os.access(path, os.R_OK)
    except OSError:
        return True


def _check_public_url(settings: Settings, ring: Ring | None) -> Iterator[Finding]:
    from receiver.upkeep.doctor import network

    return network.check_public_url(
        settings.public_url,
        ring,
        max_body=settings.max_body,
        now=time.time_ns() // 1_000_000,
        server=settings.server if is_local(settings) else None,
    )


def _check_work(settings: Settings) -> Iterator[Finding]:
    """What the running service says about its work: it may run and receive while its pings fail."""
    from receiver.upkeep.doctor import work

    most = work.LOOKED_MOST
    try:
        if (token := token_for(settings)) is None:
            if is_local(settings) and settings.sqlite_file and not _exists_or_closed(settings.sqlite_file):
                how = f"{_how_to_start(settings)}, or run the doctor with the settings of the service (--config)"
                yield findings.skip("the service has never run with these settings", how)
                return
            yield findings.skip("no API token was found to ask the service with", "set RECEIVER_API_TOKEN")
            return
        with Client(settings.server, token, pause=lambda _: None) as client:
            seen = work.WorkSnapshot(
                dead=client.list_notices(state=NoticeState.DEAD, limit=most).notices,
                due=client.list_notices(state=NoticeState.DUE, limit=most).notices,
                queued=client.list_tasks(state=TaskState.QUEUED, limit=most).tasks,
                waiting=client.list_tasks(state=TaskState.WAITING, limit=most).tasks,
                lost=client.list_tasks(state=TaskState.LOST, limit=most).tasks,
                newest=client.list_notices(limit=most).notices,
                targets=[it.name for it in settings.targets] if is_local(settings) else None,
                queue=_read_queue(client),
            )
    except SettingsError:  # of the token's file, which the settings' finding reports
        yield findings.skip("the API token cannot be read", "see the finding `settings` above")
        return
    except ApiError as error:
        yield (
            findings.skip(str(error))
            if error.status
            else findings.skip("the service does not answer", findings.SEE_SERVICE)
        )
        return
    yield from work.check_work(seen, datetime.now(UTC))


def _read_queue(client: Client) -> QueueView | None:
    """How submitting stands; None if an older service does not say."""
    try:
        return client.show_queue()
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def _sample_checks(settings: Settings) -> Iterator[tuple[str, _Check, float]]:
    def send_sample(name: str) -> Iterator[Finding]:
        try:
            with Client(settings.server, token_for(settings)) as client:
                tried = client.test_target(name)
        except (ApiError, SettingsError) as error:
            yield findings.failure(f"{name}: no sample could be sent: {error}", findings.SEE_SERVICE)
            return
        if tried.ok:
            yield findings.ok(f"{name} accepted a sample in {tried.duration_ms} ms; check that it arrived")
        else:
            yield findings.failure(
                f"{name} did not accept it: {tried.error}", tried.advice or "see what its service answered"
            )

    for target in settings.targets:
        yield "sample", lambda name=target.name: send_sample(name), TRIAL_S  # type: ignore[misc]  # bound at once


def _secret_files(settings: Settings) -> list[Path]:
    """The files of the generated secrets that the service uses."""
    names = ((KEYS_FILE, settings.secret_keys), (TOKENS_FILE, settings.api_tokens))
    return [settings.state_dir / name for name, given in names if not given]


def _secret_file_error(path: Path) -> SettingsError | None:
    """Why such a file cannot be used, if it is there."""
    try:
        if path.exists():
            read_generated(path)
    except SettingsError as error:
        return error
    except OSError:  # closed to us, which the permissions' finding reports
        return None
    return None


def _generated_secrets(settings: Settings) -> tuple[str, ...]:
    """The secrets in these files, as far as we may read them."""
    found: list[str] = []
    for path in _secret_files(settings):
        try:
            found += read_generated(path)
        except (SettingsError, OSError):
            continue
    return tuple(found)


def _read_ring(settings: Settings) -> Ring | None:
    """The service's keys, if they can be read; none are made."""
    try:
        return Ring(settings.secret_keys or read_generated(settings.state_dir / KEYS_FILE))
    except (SettingsError, OSError):
        return None


def _named_secret_files(settings: Settings, env: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """The files that secrets were read from, with what they hold."""
    place = settings.place
    in_file = [it.name for it in SETTINGS if it.secret and settings.source_of(it.name) == f"file {place.file}"]
    if in_file or any(it.name != simple_name(it.url) for it in settings.targets):
        yield (", ".join(in_file) or "targets' URLs"), place.file
    for setting in SETTINGS:
        low, source = setting.name.lower(), settings.source_of(setting.name)
        if setting.secret and (path := env.get(f"{config.ENV_PREFIX}{setting.name}_FILE", "").strip()):
            yield setting.name, place.folder / path
        elif source == f"credential {low}":
            yield setting.name, Path(env["CREDENTIALS_DIRECTORY"], low)
        elif place.secrets and source == f"file {place.secrets / low}":
            yield setting.name, place.secrets / low
