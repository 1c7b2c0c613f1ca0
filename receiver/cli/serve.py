"""`receiver serve`: the service. It owns the signals, and runs web and worker side by side.

On the first SIGTERM or SIGINT nothing new is claimed, and work under way gets its grace while callbacks are still
answered. Then the web stops and the parts close, which flushes the last commits. A second signal ends the process at
once. That loses nothing that was answered: leases resume the rest, but a submission that got no answer yet becomes
unsure. A loop that dies ends the process.

Over PostgreSQL several processes may share the work: `--role web` runs no loops, and `--role worker` answers nothing
but health checks and metrics.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click

from receiver import config
from receiver.cli import systemd
from receiver.cli.core_dumps import forbid_core_dumps
from receiver.cli.main import FAILED
from receiver.cli.patient_start import open_patiently
from receiver.config import Settings
from receiver.config.generated_secrets import KEYS_FILE
from receiver.core.errors import CorruptDatabase, NewerSchema, ReceiverError, SettingsError, StoreError
from receiver.core.types import TaskState
from receiver.notify.senders.target_check.process import warn_of_unusable
from receiver.providers.models import check_model_globs
from receiver.service import worker
from receiver.service.roles import ServiceRole
from receiver.service.wiring import ServiceParts, open_parts
from receiver.tasks.failover import watch_for_failovers
from receiver.telemetry import logs
from receiver.web import app
from receiver.web.http.server import bind_socket, inherit_socket

# Of gc.set_threshold. The interpreter's 700, 10, 10 suit programs with many reference cycles; a callback makes next to
# none.
COLLECT_AFTER = (5_000, 20, 50)
# The most that a stop takes beside the grace of submissions: for sends, polls, requests in flight, a last commit.
STOP_S = 20

log = logging.getLogger(__name__)


@click.command()
@click.option("--host", metavar="HOST", help="The address to listen on.  [RECEIVER_HOST]")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="PORT", help="0 picks a free one.  [RECEIVER_PORT]")
@click.option("--fd", type=click.IntRange(0), metavar="N", help="Listen on this socket; by default systemd's.")
@click.option(
    "--role",
    type=click.Choice([it.value for it in ServiceRole]),
    default=ServiceRole.ALL.value,
    show_default=True,
    help="The part that this process does: web answers, worker runs the loops. SQLite allows only all.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="By default ./receiver.toml.  [RECEIVER_CONFIG]",
)
def serve(*, host: str | None, port: int | None, fd: int | None, role: str, file: Path | None) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    forbid_core_dumps()
    options = {"HOST": host, "PORT": None if port is None else str(port)}
    given = {f"{config.ENV_PREFIX}{name}": value for name, value in options.items() if value}
    labels = {name: f"--{name.removeprefix(config.ENV_PREFIX).lower()} ({name})" for name in given}
    try:
        settings = config.load_settings({**os.environ, **given}, file)
        labels = {**{f"{config.ENV_PREFIX}{name}": _source_label(settings, name) for name in options}, **labels}
        _refuse_to_replace_unit(settings)
        _open_and_serve(settings, fd, ServiceRole(role))
    except SettingsError as error:
        raise SettingsError(_name_sources(error.problem, labels), remedy=error.remedy) from None


def _source_label(settings: Settings, name: str) -> str:
    """What an error calls a setting, by where it was set."""
    kind, _, place = settings.source_of(name).partition(" ")
    if kind == "file":
        return f"{name.lower()} in {place}"
    return f"{place} in the environment" if kind == "environment" else f"{config.ENV_PREFIX}{name}"


def _name_sources(problem: str, labels: Mapping[str, str]) -> str:
    """An error with the settings before its colon named as they were given, such as `--port`; the rest is as it was."""
    names, colon, rest = problem.partition(": ")
    words = [labels.get(name.removesuffix(" in the environment"), name) for name in names.split(", ")]
    return f"{', '.join(words)}{colon}{rest}"


def _refuse_to_replace_unit(settings: Settings) -> None:
    """Raise SettingsError if these are the unit's settings, and nobody named them: the unit serves with them."""
    if settings.place.found:
        raise SettingsError(
            f"no settings are named, and {settings.place.file} is for this machine's unit",
            remedy="start that with `systemctl start receiver`, or name settings with --config",
        )


def _open_and_serve(settings: Settings, fd: int | None, role: ServiceRole) -> None:
    if role is not ServiceRole.ALL and settings.sqlite_file is not None:
        raise SettingsError(
            f"--role {role} needs PostgreSQL, and {settings.database_place} is an SQLite file, which only one process "
            "may use",
            remedy="leave out --role, or set DATABASE_URL to postgresql://…",
        )
    if fd is None:
        fd = systemd.passed_socket(os.environ)
    # First of all, so that a start that does not get its port leaves nothing behind.
    with bind_socket(settings.host, settings.port) if fd is None else inherit_socket(fd) as listener:
        news = list(_startup_news(settings))
        secret = [
            word for words in (config.secret_values(settings), *config.ensure_secrets(settings)) for word in words
        ]
        journal = systemd.is_journal(os.environ, sys.stderr.fileno())
        logs.setup_logging(sys.stderr, tty=sys.stderr.isatty(), journal=journal, secrets=secret)
        _serve_to_the_end(settings, listener, news, role)


def _serve_to_the_end(settings: Settings, listener: socket.socket, news: Iterable[str], role: ServiceRole) -> None:
    try:
        asyncio.run(_run_until_signalled(settings, listener, news, role))
    except (NewerSchema, CorruptDatabase) as error:
        # Exit status 2 tells systemd that a restart would not help.
        raise SettingsError(error.problem, remedy=error.remedy) from error
    except ReceiverError:
        raise
    except Exception as error:
        log.critical("the service ends because a loop died: %r", error, exc_info=error, extra={"action": "serve.died"})
        raise click.exceptions.Exit(FAILED) from None


async def run_service(
    settings: Settings,
    stop: asyncio.Event,
    listener: socket.socket,
    *,
    role: ServiceRole = ServiceRole.ALL,
    news: Iterable[str] = (),
    ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Run the service on `listener` until `stop`, then end it in order; `ready` gets the port once it answers.

    `news` are logged as warnings once all is open. Raises SettingsError, StoreError, and what a loop died of.
    """
    async with _open_parts(settings, role, stop, listener) as parts:
        if parts is not None:
            try:
                await _run_parts(settings, parts, stop, listener, news, ready)
            except BaseExceptionGroup as several:
                raise first_error(several) from several
    log.info("stopped", extra={"action": "serve.stop"})


def _open_parts(
    settings: Settings, role: ServiceRole, stop: asyncio.Event, listener: socket.socket
) -> contextlib.AbstractAsyncContextManager[ServiceParts | None]:
    """The parts; None if `stop` came before the database. One that is a file is there, or it is an error."""
    if settings.sqlite_file is not None:
        return open_parts(settings, role=role)
    return open_patiently(
        lambda: open_parts(settings, role=role),
        listener,
        stop,
        named=settings.database_place,
        body_timeout_s=settings.body_timeout,
    )


async def _run_parts(
    settings: Settings,
    parts: ServiceParts,
    stop: asyncio.Event,
    listener: socket.socket,
    news: Iterable[str],
    ready: Callable[[int], None],
) -> None:
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        quiet = asyncio.Event()
        group.create_task(_serve_web(parts, listener, listening, stop, quiet), name="web")
        port = await listening
        await _log_start(settings, parts, port, news)
        ready(port)
        beside = [group.create_task(warn_of_unusable(settings.targets), name="targets")] if parts.role.works else []
        if parts.role.works and parts.store.shared:
            watching = watch_for_failovers(parts.store, parts.policy, parts.clock)
            beside.append(group.create_task(watching, name="failovers"))
        if within_s := systemd.watchdog_s(os.environ):
            beside += [group.create_task(systemd.feed_watchdog(parts.store, within_s), name="watchdog")]
        telling = group.create_task(_log_stop(parts, stop), name="stop")
        if parts.role.works:
            await worker.run_loops(parts.loops, parts.store, parts.clock, stop)
        await telling
        quiet.set()
        for task in beside:
            task.cancel()


@contextlib.contextmanager
def stop_on_signals(stop: asyncio.Event, announce: Callable[[], None] = lambda: None) -> Iterator[None]:
    """SIGTERM and SIGINT call `announce` and set `stop`; a second one ends the process by the default action."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        announce()
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _run_until_signalled(
    settings: Settings, listener: socket.socket, news: Iterable[str], role: ServiceRole
) -> None:
    stop = asyncio.Event()
    with stop_on_signals(stop, lambda: systemd.sd_notify("STOPPING=1", "STATUS=stopping")):
        await run_service(settings, stop, listener, role=role, news=news, ready=_report_ready)


def _startup_news(settings: Settings) -> Iterator[str]:
    """What this start creates, in case the user meant to use what is elsewhere."""
    database, keys = settings.sqlite_file, settings.state_dir / KEYS_FILE
    refused = "callback URLs made with other keys are refused"
    older = "stop the service, and name the settings file of the older ones with --config, or set DATABASE_URL"
    new_keys = not settings.secret_keys and not os.path.exists(keys)
    made = f"new secret keys, {keys.absolute()}"
    if database and not (os.path.exists(database) and os.path.getsize(database)):  # unlike Path's, these raise nothing
        both = f"a new database, {database.absolute()}{f', and {made}' if new_keys else ''}"
        yield f"created {both}: right for a first start; else {older}{f': {refused}' if new_keys else ''}"
    elif new_keys:
        yield f"created {made}: {refused}; if there are older ones, {older}"


def _report_ready(port: int) -> None:
    """Notify systemd, and exempt what the start made from garbage collection, which took 4 % of a callback's CPU."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    systemd.sd_notify("READY=1", f"STATUS=listening on port {port}" if port else "STATUS=listening")


async def _serve_web(
    parts: ServiceParts,
    listener: socket.socket,
    listening: "asyncio.Future[int]",
    stop: asyncio.Event,
    quiet: asyncio.Event,
) -> None:
    """Answer until `quiet`; after `stop` only callbacks have to be answered."""
    await app.serve(parts, listener=listener, stop=quiet, draining=stop, ready=listening.set_result)
    if not quiet.is_set():
        raise RuntimeError("the web server ended by itself")


async def _log_stop(parts: ServiceParts, stop: asyncio.Event) -> None:
    """Log, when a stop is requested, why it may take a while and what a second signal would cost."""
    await stop.wait()
    under_way = 0
    if parts.role.works:
        with contextlib.suppress(StoreError):  # no reason not to stop
            under_way = dict(await parts.store.tasks.count_by_state()).get(TaskState.SUBMITTING, 0)
    text = "stopping"
    if under_way:
        text += (
            f": {under_way} {'submission is' if under_way == 1 else 'submissions are'} under way, up to "
            f"{parts.submit.grace_s:.0f} s; a second Ctrl-C ends at once and may leave them unsure"
        )
        systemd.sd_notify(f"EXTEND_TIMEOUT_USEC={(parts.submit.grace_s + STOP_S) * 1_000_000:.0f}", f"STATUS={text}")
    log.info("%s", text, extra={"action": "serve.stop"})


async def _log_start(settings: Settings, parts: ServiceParts, port: int, news: Iterable[str]) -> None:
    """Log one line on what runs where, after warnings on what will not work and on what is new."""
    for warning in (*_startup_warnings(settings, port), *news):
        log.warning("%s", warning, extra={"action": "serve.start"})
    unfinished = ""
    with contextlib.suppress(StoreError):  # a moment later it may answer
        waiting = sum(count for _, count in await parts.store.tasks.count_by_state())
        unfinished = f"; {waiting} unfinished {'task' if waiting == 1 else 'tasks'}"
    log.info(
        "%slistening on http://%s:%d, database %s, targets: %s%s",
        "" if parts.role is ServiceRole.ALL else f"{parts.role}, ",
        f"[{settings.host}]" if ":" in settings.host else settings.host,
        port,
        settings.database_place,
        ", ".join(target.name for target in settings.targets) or "none",
        unfinished,
        extra={"action": "serve.start", "port": port},
    )


def _startup_warnings(settings: Settings, port: int) -> Iterator[str]:
    if warning := config.why_unreachable(settings):
        yield str(warning)
    elif settings.source_of("PUBLIC_URL") == "default" and urlsplit(settings.public_url).port != port:
        yield f"the service listens on port {port}, callback URLs say {settings.public_url}: set RECEIVER_PUBLIC_URL"
    yield from map(str, config.warn_of_plain_http(settings))
    if settings.provider_key is None:
        yield (
            "no PROVIDER_KEY: nothing can be submitted or polled, and callbacks without a known task id are reported "
            f"as unconfirmed after {settings.confirm_within} seconds"
        )
    for target in settings.targets:
        if wrong := check_model_globs(target.models):
            yield f"targets.{target.name}: {wrong}"
        if target.template is None:
            continue
        from receiver.notify.messages.template import check_template  # brings Jinja2

        if broken := check_template(target.template, target.style):
            what = f"its template {target.template_file} cannot be used, so the built-in one is"
            yield f"targets.{target.name}: {what}: {broken}"
    if not settings.targets:
        yield "no targets, so no pings are sent: set RECEIVER_NOTIFY_URLS, or [targets.NAME] in receiver.toml"


def first_error(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in nested groups."""
    error: BaseException = several
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
