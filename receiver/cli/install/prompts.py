"""What `receiver install` asks a person or reads from a file: checked before anything changes, and never shown."""

import sys
from pathlib import Path

import click

from receiver.config.value_kinds import BadValue, ValueKind

STDIN = Path("-")


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
            value = click.prompt(
                question, hide_input=secret, default="" if secret else None, show_default=False, err=True
            ).strip()
        except click.Abort as ended:
            if not isinstance(ended.__context__, EOFError):
                raise
            if not secret:
                click.echo(err=True)  # the line of the question has not ended yet
            raise click.ClickException(f"{wrong}; nothing was changed") from None
        if secret and not value:
            return ""
        try:
            check_value(value, kind, what)
        except click.ClickException as error:
            wrong = error.format_message()
            click.echo(f"receiver: {wrong}", err=True)
        else:
            return value


def read_secret_input(file: Path, name: str) -> str:
    """The contents of the file with the secret `name`, stripped; `STDIN` is standard input. Raises ClickException."""
    try:
        return (sys.stdin.read() if file == STDIN else file.read_text("utf-8")).strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise click.ClickException(f"cannot read the file of {name}: {why}") from None


def check_value(value: str, kind: ValueKind, what: str) -> None:
    """Raise ClickException, which names `what` and not the value, if the value is not of this kind."""
    try:
        kind.parse(value)
    except BadValue as error:
        raise click.ClickException(f"{what}: {error}") from None
    except ValueError:
        raise click.ClickException(f"{what}: expected {kind.expects}") from None
