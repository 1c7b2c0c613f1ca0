"""What `receiver install` asks a person or reads from a file: checked before anything changes, and never shown."""

import sys
from pathlib import Path

import click

from receiver.cli.streams import note
from receiver.config.bad_value import BadValue
from receiver.config.read import NotText, decode_text
from receiver.config.spellings import unquote
from receiver.config.target_urls import URLS
from receiver.config.value_kinds import ValueKind
from receiver.core.types import Target

STDIN = Path("-")


def _parse_targets(text: str) -> object:
    """The targets of NOTIFY_URLS, each loaded as the service will load it. Raises BadValue."""
    from receiver.notify.senders.sender import check_target  # brings Apprise

    targets: tuple[Target, ...] = URLS.parse(text)
    for target in targets:
        if fault := check_target(target):
            raise BadValue(fault.problem, remedy=fault.remedy)
    return targets


TARGETS = ValueKind(URLS.expects, _parse_targets)


def on_a_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty()


def prompt_value(question: str, kind: ValueKind, what: str, *, secret: bool = False) -> str:
    """Ask a person until the answer is valid, and say what is wrong. A secret is not echoed, and may be empty.

    Raises ClickException with the last error if the input ends first.
    """
    wrong = f"{what} was not given"
    while True:
        try:
            value: str = click.prompt(
                question, hide_input=secret, default="" if secret else None, show_default=False, err=True
            )
        except click.Abort as ended:
            if not isinstance(ended.__context__, EOFError):
                raise
            if not secret:
                note()  # the line of the question has not ended yet
            raise click.ClickException(f"{wrong}; nothing was changed") from None
        value = unquote(value)
        if secret and not value:
            return ""
        try:
            check_value(value, kind, what)
        except click.ClickException as error:
            wrong = error.format_message()
            note(f"receiver: {wrong}")
        else:
            return value


def read_secret_input(file: Path, name: str) -> str:
    """The contents of the file with the secret `name`, without blanks and quotes around them; `STDIN` is standard
    input. Raises ClickException."""
    try:
        return unquote(decode_text(sys.stdin.buffer.read() if file == STDIN else file.read_bytes()))
    except OSError as error:
        raise click.ClickException(f"cannot read the file of {name}: {error.strerror}") from None
    except NotText as error:
        raise click.ClickException(f"the file of {name} is {error.what}; {error.remedy}") from None


def check_value(value: str, kind: ValueKind, what: str) -> None:
    """Raise ClickException, which names `what` and not the value, if the value is not of this kind."""
    try:
        kind.parse(value)
    except BadValue as error:
        raise click.ClickException(f"{what}: {error}") from None
    except ValueError:
        raise click.ClickException(f"{what}: expected {kind.expects}") from None
