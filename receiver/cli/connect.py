"""How a command reaches the service: its address, its token, and the ref of a task that a person names."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import click

from receiver import config
from receiver.cli.output import age, config_option, safe_line
from receiver.client.client import Client
from receiver.client.schemas import TaskView
from receiver.config import Settings
from receiver.config.generated_secrets import TOKENS_FILE
from receiver.core.errors import ApiError
from receiver.core.handles import PART_LEAST
from receiver.tokens import is_ref

_NAMED_MOST = 3  # of several tasks that a handle fits
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


_P = ParamSpec("_P")
_R = TypeVar("_R")


def with_client(command: Callable[Concatenate[Client, _P], _R]) -> Callable[..., _R]:
    """Give a command the option --config and, as its first argument, a client of the service that the settings name."""

    @config_option
    @functools.wraps(command)
    def run_with_client(*args: Any, file: Path | None, **given: Any) -> _R:
        with connect(file) as client:
            return command(client, *args, **given)

    return run_with_client


def resolve_ref(client: Client, handle: str, *, waits: str | None = None, chains: str | None = None) -> str:
    """The ref of the one task that `handle` names: by its label, also with the name of its step, its ref, or the
    beginning or end of that. All tasks of a chain may have one label: with `waits`, one that waits for this is meant if
    there is any; with `chains` as `first`, the first one is.

    Raises ClickException if no task is called so, or several are.
    """
    if is_ref(handle):
        return handle  # if it is wrong, the service says so
    found = client.list_tasks(handle=handle, waits=waits, limit=_NAMED_MOST + 1).tasks if waits else []
    found = found or client.list_tasks(handle=handle, chains=chains, limit=_NAMED_MOST + 1).tasks
    if not found:
        part = f"at least {PART_LEAST} characters of a ref's beginning or end"
        how = f"give a label, LABEL/STEP for a step of a chain, a ref, or {part}"
        raise click.ClickException(f"no task is called {handle!r}: {how}")
    if len(found) > 1:
        some = ", ".join(map(_name_task, found[:_NAMED_MOST]))
        more = " and others" if len(found) > _NAMED_MOST else ""
        steps = [it.chain.step for it in found if it.chain is not None and it.chain.step and it.label == handle]
        how = f"give a step, as in {f'{handle}/{steps[-1]}'!r}, or a ref" if steps else "give one of these refs"
        how = f"{how}, newest first"
        raise click.ClickException(f"several tasks are called {handle!r}: {how}: {some}{more}")
    return found[0].ref


@contextlib.contextmanager
def connect(file: Path | None) -> Iterator[Client]:
    """A client of the service that the settings name, with its token."""
    settings = config.load_settings(os.environ, file, client=True)
    token = token_for(settings)
    with Client(settings.server, token) as client:
        try:
            yield client
        except ApiError as error:
            if token is None and error.status == 401:
                raise click.ClickException(_missing_token(settings)) from None
            if error.code == "unreachable" and is_of_unit(settings):
                how = (error.remedy or "").replace("`receiver serve`", "`systemctl start receiver`")
                raise ApiError(0, error.code, error.problem, remedy=how) from None
            if error.code == "unreachable" and (where := _missing_file(settings)):
                raise ApiError(0, error.code, error.problem, remedy=f"{where}; else {error.remedy}") from None
            raise


def token_for(settings: Settings) -> str | None:
    """API_TOKEN or, on the service's own machine, the service's token, which is never sent to another machine."""
    return config.local_token(settings) if is_local(settings) else settings.api_token


def _name_task(task: TaskView) -> str:
    step = f"step {task.chain.step}, " if task.chain is not None and task.chain.step else ""
    return safe_line(f"{task.ref} ({step}{task.state}, {_ago(task.created_at)})")


def _ago(moment: str) -> str:
    since = age(moment)
    return f"{since} ago" if since[:1].isdigit() else since


def _missing_file(settings: Settings) -> str | None:
    """How the settings are found, if there is no file and nothing says where the service is."""
    file = settings.place.file
    if {settings.source_of(name) for name in ("SERVER", "HOST", "PORT")} != {"default"} or os.path.lexists(file):
        return None
    where = f"cd to the service's folder, or name the file with --config or {config.FILE_VARIABLE}"
    if os.geteuid() != 0 and os.path.lexists(config.UNIT_SETTINGS):
        where = f"as root, those of this machine's unit do ({config.UNIT_SETTINGS})"
    return f"no {file} was found in this folder, so the defaults apply: {where}"


def _missing_token(settings: Settings) -> str:
    if not is_local(settings):
        return f"no API token found for {settings.server}: set RECEIVER_API_TOKEN to one of its API_TOKENS"
    where = "as root" if os.path.lexists(config.UNIT_DATABASE.parent) else "in the service's folder"
    return (
        f"no API token found (looked for {(settings.state_dir / TOKENS_FILE).absolute()}): set RECEIVER_API_TOKEN, or "
        f"run this {where}, or with the service's --config (or RECEIVER_CONFIG)"
    )


def is_of_unit(settings: Settings) -> bool:
    """Whether the settings are those of this machine's unit, which starts the service."""
    return settings.place.file.absolute() == config.UNIT_SETTINGS


def is_local(settings: Settings) -> bool:
    """Whether the commands' service is this machine's."""
    return settings.source_of("SERVER") == "default" or urlsplit(settings.server).hostname in _LOOPBACK
