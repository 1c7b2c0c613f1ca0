"""The group `receiver submit`. A command is made, or imported, when it is used."""

import importlib

import click

from receiver.providers import models
from receiver.providers.declarations import JobFeed, Model, UrlFeed

# Where each command that is not a model's is, and its line in the overview.
_OTHERS = {
    "chain": ("receiver.cli.submit.chain", "Steps from a file, each going on from another."),
    "batch": ("receiver.cli.batch.submit_command", "Every row of a CSV or JSON Lines file."),
    "again": ("receiver.cli.submit.again", "Another task like an earlier one."),
    "raw": ("receiver.cli.submit.raw", "A model that receiver does not know, unchecked."),
}
# What people who come from Midjourney call it, and the command that they mean.
_MEANT = {
    "imagine": "diffusion",
    "generate": "diffusion",
    "vary": "variation",
    "zoom": "outpaint",
    "zoom-out": "outpaint",
    "animate": "video-diffusion",
    "video": "video-diffusion",
    "repeat": "reroll",
}
_NEW, _EARLIER, _OWN, _VIDEO, _MORE = (
    "New pictures",
    "From an earlier task's picture",
    "From any picture that has an address",
    "Videos",
    "Other ways to submit",
)


class SubmitGroup(click.Group):
    """A command for each declared model, and a few others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(models.command_name(it) for it in models.MODELS), *_OTHERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _OTHERS:
            command = getattr(importlib.import_module(_OTHERS[cmd_name][0]), cmd_name)
            assert isinstance(command, click.Command)  # noqa: S101 - the table above says so
            return command
        model = models.MODELS.get(models.full_model_name(cmd_name))
        if model is None:
            if (meant := _MEANT.get(models.command_name(cmd_name))) is not None:
                raise click.UsageError(f"No such command '{cmd_name}'. Did you mean '{meant}'?", ctx)
            names = self.list_commands(ctx)
            raise click.exceptions.NoSuchCommand(cmd_name, possibilities=names, ctx=ctx)
        from receiver.cli.submit.model_commands import make_command

        return make_command(model)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {it: [] for it in (_NEW, _EARLIER, _OWN, _VIDEO)}
        for model in models.MODELS.values():
            sections[_section_of(model)].append((models.command_name(model.name), model.summary))
        sections[_MORE] = [(name, summary) for name, (_, summary) in _OTHERS.items()]
        width = max(len(name) for rows in sections.values() for name, _ in rows)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in rows])


def _section_of(model: Model) -> str:
    if model.media == "video":
        return _VIDEO
    if isinstance(model.feed, JobFeed):
        return _EARLIER
    return _OWN if isinstance(model.feed, UrlFeed) else _NEW


@click.group(cls=SubmitGroup)
def submit() -> None:
    """Submit a generation, and print its ref.

    `receiver submit MODEL --help` says what a model takes.
    """
