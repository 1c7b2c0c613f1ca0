"""The entry point, `receiver COMMAND`. Each group of commands has its own file, imported only when it is used.

All commands behave alike: results go to standard output, an error is one line on standard error that says what to do,
and the exit status is 0 done, 1 failed, 2 wrong usage or wrong settings, 130 interrupted.
"""

import gc
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

from receiver import __version__
from receiver.cli.core_dumps import limit_core_dumps
from receiver.cli.streams import OutputLost, describe_os_error, discard_output, note, prepare_streams
from receiver.core.errors import ReceiverError, SettingsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

DONE, FAILED, WRONG = 0, 1, 2
INTERRUPTED = 130  # as a shell counts SIGINT

_AFTER_COMMAND = ("--config", "--json")  # options that nearly all commands have

# Where each command is, and its line in the overview, which is printed without importing any of them.
COMMANDS = {
    "serve": ("receiver.cli.serve", "Run the service."),
    "submit": ("receiver.cli.submit.group", "Submit a generation, and print its ref."),
    "tasks": ("receiver.cli.tasks", "List, watch and manage tasks."),
    "batch": ("receiver.cli.batch.commands", "List, show and change batches."),
    "queue": ("receiver.cli.queue", "How submitting stands; pause and resume it."),
    "costs": ("receiver.cli.costs", "What was spent, and how the budgets stand."),
    "callbacks": ("receiver.cli.callbacks", "Show what the provider sent, or replay it."),
    "notices": ("receiver.cli.notices", "The outbox: list, test, redrive or discard notices."),
    "url": ("receiver.cli.url", "Mint a callback URL for a submission of your own."),
    "backup": ("receiver.cli.backup", "Back up the database and its keys."),
    "restore": ("receiver.cli.restore", "Replace the database with a backup."),
    "prune": ("receiver.cli.prune", "Remove now what RETENTION says."),
    "migrate": ("receiver.cli.migrate", "Migrate the database to this version's schema."),
    "password": ("receiver.cli.password", "Set the password of the pages."),
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(it, help=COMMANDS[it][1]) for it in COMMANDS if it.startswith(incomplete)]

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        prepare_streams()
        colour = {"color": False} if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else {}
        try:
            status = super().main(*args, **{**kwargs, **colour, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = WRONG
        except click.UsageError as error:
            status = _print_error(
                WRONG, _explain_place(error) or _explain_unknown(error) or error.format_message(), error.ctx
            )
        except click.ClickException as error:
            status = _print_error(FAILED, error.format_message())
        except SettingsError as error:
            status = _print_error(WRONG, str(error))
        except OutputLost as lost:
            discard_output()
            status = FAILED if lost.silent else _print_error(FAILED, str(lost))
        except ReceiverError as error:
            status = _print_error(FAILED, str(error))
        except RecursionError:  # it may be nested just too deeply for us to write what we could read
            status = _print_error(FAILED, "the server's answer is nested too deeply to print")
        except UnicodeEncodeError:
            status = _print_error(WRONG, "an argument is not UTF-8; check this terminal's encoding")
        except OSError as error:  # also of what click itself prints, such as the help
            discard_output()
            status = _print_error(FAILED, describe_os_error(error))
        except (click.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        except Exception as error:
            if sys.flags.dev_mode:
                raise
            status = _print_error(FAILED, _describe_bug(error))
        sys.exit(status if isinstance(status, int) else DONE)


def _explain_place(error: click.UsageError) -> str | None:
    """What to do about an option of the commands that stands before the command."""
    if not isinstance(error, click.NoSuchOption) or error.option_name not in _AFTER_COMMAND or error.ctx is None:
        return None
    if not isinstance(error.ctx.command, click.Group):
        return None
    return f"put {error.option_name} after the command, as in `{error.ctx.command_path} COMMAND {error.option_name} …`"


def _explain_unknown(error: click.UsageError) -> str | None:
    """The commands of a group, if none of them is like the unknown one."""
    if not isinstance(error, click.exceptions.NoSuchCommand) or error.possibilities or error.ctx is None:
        return None
    group = error.ctx.command
    if not isinstance(group, click.Group) or isinstance(group, CommandGroup):
        return None
    return f"{error.message.rstrip('.')}; the commands are: {', '.join(group.list_commands(error.ctx))}"


def _print_error(status: int, text: str, ctx: click.Context | None = None) -> int:
    from receiver.cli.output import safe_text  # only with an error: the overview does not wait for it

    line = safe_text(" ".join(text.split()))
    more = f" (see `{ctx.command_path} --help`)" if ctx else ""
    note(f"receiver: {line.rstrip('.') if more else line}{more}")
    return status


def _describe_bug(error: Exception) -> str:
    """An error that nobody foresaw, by its kind and place: its text may hold anything, even a secret."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}: this is a bug in "
        "receiver; please report it, with what `PYTHONDEVMODE=1 receiver …` prints"
    )


_COMPLETION = (
    'Shell completion: put eval "$(_RECEIVER_COMPLETE=bash_source receiver)" into ~/.bashrc; for zsh and fish, '
    "zsh_source and fish_source."
)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_COMPLETION)
@click.version_option(__version__, prog_name="receiver", message="%(prog)s %(version)s")
def cli() -> None:
    """Fire-and-forget image generations: submit, close the laptop, get a ping when the pictures are ready."""


def main() -> NoReturn:
    """The entry point of `receiver`."""
    limit_core_dumps()
    cli.main(prog_name="receiver")
