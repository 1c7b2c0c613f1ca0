"""How a command reaches the service: its address, its token, and a ref from its beginning."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import click

from receiver import config
from receiver.client.client import Client
from receiver.config import Settings
from receiver.config.generated_secrets import TOKENS_FILE
from receiver.core.errors import ApiError
from receiver.tokens import is_ref

PREFIX_LEAST = 8  # the fewest characters that may stand for a ref, if no other begins with them
_LAST_REF = "ffffffff-ffff-7fff-bfff-ffffffffffff"  # no ref sorts after it
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def with_client(command: Callable[Concatenate[Client, _P], _R]) -> Callable[..., _R]:
    """Give a command the option --config and, as its first argument, a client of the service that the settings name."""

    @click.option(
        "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="By default ./receiver.toml."
    )
    @functools.wraps(command)
    def run_with_client(*args: Any, file: Path | None, **given: Any) -> _R:
        with connect(file) as client:
            return command(client, *args, **given)

    return run_with_client


def resolve_ref(client: Client, ref: str) -> str:
    """The full ref that `ref` is or begins. Raises ClickException if it is too short, or several refs begin so."""
    if len(ref) < PREFIX_LEAST:
        raise click.ClickException(f"the ref {ref!r} is too short: give at least its first {PREFIX_LEAST} characters")
    cursor = ref + _LAST_REF[len(ref) :]
    if is_ref(ref) or not is_ref(cursor):
        return ref  # if it is wrong, the service says so
    found = [task.ref for task in client.list_tasks(limit=2, cursor=cursor).tasks if task.ref.startswith(ref)]
    if len(found) > 1:
        raise click.ClickException(f"several refs begin with {ref}: give more characters, as in {found[0]}")
    return found[0] if found else ref


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
            raise


def token_for(settings: Settings) -> str | None:
    """API_TOKEN or, on the service's own machine, the service's token, which is never sent to another machine."""
    return config.local_token(settings) if _is_local(settings) else settings.api_token


def _missing_token(settings: Settings) -> str:
    if not _is_local(settings):
        return f"no API token found for {settings.server}: set RECEIVER_API_TOKEN to one of its API_TOKENS"
    where = "as root" if os.path.lexists(config.UNIT_DATABASE.parent) else "in the service's folder"
    return (
        f"no API token found (looked for {(settings.state_dir / TOKENS_FILE).absolute()}): set RECEIVER_API_TOKEN, or "
        f"run this {where}, or with the service's --config"
    )


def _is_local(settings: Settings) -> bool:
    return settings.source_of("SERVER") == "default" or urlsplit(settings.server).hostname in _LOOPBACK
