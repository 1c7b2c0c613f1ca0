"""The commands: thin, one file per group, each imported only when it is used.

Promises their manners: what a command prints is on standard output, an error is one line on standard error that says
what to do, and the exit status is 0 done, 1 failed, 2 wrong usage or wrong settings, 130 interrupted.
"""

import gc
import importlib
import sys
from typing import Any, NoReturn

import click

from receiver import __version__
from receiver.core.errors import ReceiverError, SettingsError

DONE, FAILED, WRONG = 0, 1, 2
INTERRUPTED = 130  # as a shell counts SIGINT

# Where each command lives, and what the overview says of it: to print that, none of them need be imported.
COMMANDS = {
    "serve": ("receiver.cli.serve", "Run the service."),
    "submit": ("receiver.cli.submit", "Submit a generation; prints its ref."),
    "tasks": ("receiver.cli.tasks", "What is under way, and what became of it."),
    "callbacks": ("receiver.cli.callbacks", "What the provider sent, verbatim."),
    "notices": ("receiver.cli.notices", "The outbox: who was told what."),
    "url": ("receiver.cli.url", "Mint a callback URL for your own submitter."),
    "backup": ("receiver.cli.backup", "Copy the database and its keys, beside the running service."),
    "restore": ("receiver.cli.restore", "Put a backup in the database's place."),
    "prune": ("receiver.cli.prune", "Remove what RETENTION says, now."),
    "migrate": ("receiver.cli.migrate", "Bring the database to this version's schema."),
    "doctor": ("receiver.cli.doctor", "What is wrong, and what to do about it."),
    "install": ("receiver.cli.install.command", "Run the service under systemd."),
    "config": ("receiver.cli.config", "Every setting, its value and where it came from."),
    "sandbox": ("receiver.cli.sandbox", "Run a stand-in for the provider."),
    "demo": ("receiver.cli.demo", "See it all work, with no account and no key."),
}


class CommandGroup(click.Group):
    """A group that imports a command when it is asked for, and turns errors into one line and a status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # what imports make stays; to look for garbage in it would take a twentieth of a start
        try:
            command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
            gc.freeze()
        finally:
            gc.enable()
        assert isinstance(command, click.Command)  # noqa: S101 - the table above says so
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = WRONG
        except click.UsageError as error:
            status = _print_error(WRONG, error.format_message(), error.ctx)
        except click.ClickException as error:
            status = _print_error(FAILED, error.format_message())
        except SettingsError as error:
            status = _print_error(WRONG, str(error))
        except ReceiverError as error:
            status = _print_error(FAILED, str(error))
        except RecursionError:  # what a server says may be nested as deep as our own reading just bears
            status = _print_error(FAILED, "what the server answers is nested too deeply to be shown")
        except (click.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        sys.exit(status if isinstance(status, int) else DONE)


def _print_error(status: int, text: str, ctx: click.Context | None = None) -> int:
    from receiver.cli.output import safe_text  # with the first error, as it brings what the overview need not wait for

    line = safe_text(" ".join(text.split()))
    more = f" (`{ctx.command_path} --help` says more)" if ctx else ""
    click.echo(f"receiver: {line.rstrip('.') if more else line}{more}", err=True)
    return status


@click.group(cls=CommandGroup)
@click.version_option(__version__, prog_name="receiver", message="%(prog)s %(version)s")
def cli() -> None:
    """Fire-and-forget image generations: submit, close the laptop, get a ping when the pictures are ready."""


def main() -> NoReturn:
    """The entry point of `receiver`."""
    cli.main(prog_name="receiver")
