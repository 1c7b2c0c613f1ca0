"""The entry point, `receiver COMMAND`. Each group of commands has its own file, imported only when it is used.

All commands behave alike: results go to standard output, an error is one line on standard error that says what to do,
and the exit status is 0 done, 1 failed, 2 wrong usage or wrong settings, 130 interrupted.
"""

import gc
import importlib
import sys
from typing import Any, NoReturn

import click

from receiver import __version__
from receiver.cli.core_dumps import limit_core_dumps
from receiver.core.errors import ReceiverError, SettingsError

DONE, FAILED, WRONG = 0, 1, 2
INTERRUPTED = 130  # as a shell counts SIGINT

# Where each command is, and its line in the overview, which is printed without importing any of them.
COMMANDS = {
    "serve": ("receiver.cli.serve", "Run the service."),
    "submit": ("receiver.cli.submit", "Submit a generation, and print its ref."),
    "tasks": ("receiver.cli.tasks", "List, watch and manage tasks."),
    "callbacks": ("receiver.cli.callbacks", "Show what the provider sent, or replay it."),
    "notices": ("receiver.cli.notices", "The outbox: list, test or redrive notices."),
    "url": ("receiver.cli.url", "Mint a callback URL for a submission of your own."),
    "backup": ("receiver.cli.backup", "Back up the database and its keys."),
    "restore": ("receiver.cli.restore", "Replace the database with a backup."),
    "prune": ("receiver.cli.prune", "Remove now what RETENTION says."),
    "migrate": ("receiver.cli.migrate", "Migrate the database to this version's schema."),
    "doctor": ("receiver.cli.doctor", "Check everything, and say how to fix what is wrong."),
    "install": ("receiver.cli.install.command", "Install the service under systemd."),
    "config": ("receiver.cli.config", "Show every setting, its value and its source."),
    "sandbox": ("receiver.cli.sandbox", "Run a stand-in for the provider."),
    "demo": ("receiver.cli.demo", "Show it all working, without an account or a key."),
}


class CommandGroup(click.Group):
    """Imports a command when it is used, and turns every error into one line and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise click.exceptions.NoSuchCommand(cmd_name, possibilities=COMMANDS, ctx=ctx)
        gc.disable()  # what imports make stays; collecting it would take a twentieth of a start
        try:
            command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
            gc.freeze()
        finally:
            gc.enable()
        assert isinstance(command, click.Command)  # noqa: S101 - the table above says so
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

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
        except RecursionError:  # it may be nested just too deeply for us to write what we could read
            status = _print_error(FAILED, "the server's answer is nested too deeply to print")
        except (click.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        sys.exit(status if isinstance(status, int) else DONE)


def _print_error(status: int, text: str, ctx: click.Context | None = None) -> int:
    from receiver.cli.output import safe_text  # only with an error: the overview does not wait for it

    line = safe_text(" ".join(text.split()))
    more = f" (see `{ctx.command_path} --help`)" if ctx else ""
    click.echo(f"receiver: {line.rstrip('.') if more else line}{more}", err=True)
    return status


@click.group(cls=CommandGroup)
@click.version_option(__version__, prog_name="receiver", message="%(prog)s %(version)s")
def cli() -> None:
    """Fire-and-forget image generations: submit, close the laptop, get a ping when the pictures are ready."""


def main() -> NoReturn:
    """The entry point of `receiver`."""
    limit_core_dumps()
    cli.main(prog_name="receiver")
