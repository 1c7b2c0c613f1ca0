"""A command for each declared model, made from its declaration: its parameters, which picture it goes on from, and how
it is submitted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from msgspec.structs import replace

from receiver.cli.connect import with_client
from receiver.cli.streams import note
from receiver.cli.submit import sending
from receiver.cli.submit.option_texts import ParamType, explain_in_options, read_pairs
from receiver.cli.submit.picture_source import (
    ImageNumberType,
    check_source,
    find_source,
    place_flag,
)
from receiver.cli.submit.sending import Sending, submit_once
from receiver.client.client import Client
from receiver.client.schemas import NewTask
from receiver.core.errors import RequestRefused
from receiver.providers import models
from receiver.providers.declarations import JobFeed, Model
from receiver.providers.geometry import MaskParam, PlaceParam, SizeParam
from receiver.providers.parameters import ChoiceParam, Documented, ModelParam, NumberParam, TextParam
from receiver.providers.vtrix.flag_mistakes import is_flag

_FIELD = "param_"  # what the arguments for a model's parameters begin with
_TAKES, _GOES_ON, _SUBMITTED = "What it takes", "Which picture it goes on from", "How it is submitted"
_REQUIRED = "  [required]"
_MASKS = """

The provider fetches a mask by its address, so a file of yours has to be on the web first. Areas are polygons in pixels
on a picture of a width and a height, each with its points, x and y in turn. The lower half of a square picture:

\b
  --mask '{"areas": [{"width": 1024, "height": 1024,
    "points": [0, 512, 1024, 512, 1024, 1024, 0, 1024]}]}'"""
_COUNTS = {1: "one", 4: "four"}


class ModelCommand(click.Command):
    """A command whose help has its options in sections, and whose faults say where a prompt and its flags go."""

    def __init__(self, *, sections: Mapping[str, str], takes_prompt: bool, **given: Any) -> None:
        super().__init__(**given)
        self._sections = sections  # by the name of the option's argument
        self._takes_prompt = takes_prompt

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(args))
        except click.UsageError as wrong:
            if self._takes_prompt and (text := self._explain_prompt(ctx, args, wrong)) is not None:
                raise click.UsageError(text, ctx) from None
            raise

    def _explain_prompt(self, ctx: click.Context, args: list[str], wrong: click.UsageError) -> str | None:
        """What is wrong, if a part of the prompt is where the options are."""
        if isinstance(wrong, click.NoSuchOption):
            flag = wrong.option_name
            if not flag.startswith("--") or not is_flag(flag[2:]):
                return None
            return f'{flag} is one of Midjourney\'s flags, which go inside the quoted prompt: --prompt "a cat {flag} …"'
        try:
            _, stray, _ = self.make_parser(ctx).parse_args(list(args))
        except click.UsageError:
            return None
        if not stray:
            return None
        return f'{stray[0][:40]!r} belongs to no option; the whole prompt goes in quotes: --prompt "a cat on a mat"'

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in (_TAKES, _GOES_ON, _SUBMITTED):
            records = [
                record
                for param in self.get_params(ctx)
                if self._sections.get(param.name or "", _SUBMITTED) == section
                and (record := param.get_help_record(ctx)) is not None
            ]
            if records:
                with formatter.section(section):
                    formatter.write_dl(records)


def make_command(model: Model) -> click.Command:
    """The command that submits a task of this model."""

    @sending.label_option
    @sending.target_option
    @sending.poll_only_option
    @sending.permutations_option
    @sending.anyway_option
    @sending.priority_option
    @sending.sending_options
    @with_client
    def run(client: Client, /, **given: Any) -> None:
        _submit(client, model, given)

    own = [(_make_option(it, model), section) for it, section in _fields(model)]
    source = [(it, _GOES_ON) for it in _source_options(model)]
    if model.is_open:
        run = sending.param_option(run)
    extra = [*own, *source]
    takes = [it for it, section in extra if section == _TAKES]
    goes_on = [it for it, section in extra if section == _GOES_ON]
    # Those of a source go before the model's own ones that say it: --after, --from, --job-id, --image-no
    goes_on.sort(key=lambda it: (it.name or "").startswith(_FIELD) or it.name == "numbers")
    common = reversed(getattr(run, "__click_params__", []))
    name = models.command_name(model.name)
    return ModelCommand(
        name=name,
        callback=run,
        params=[*takes, *goes_on, *common],
        sections={it.name or "": section for it, section in extra} | {"pairs": _TAKES},
        takes_prompt=model.prompt_param is not None,
        short_help=model.summary.rstrip("."),
        help=_describe(model),
        epilog=_example(model),
    )


def _fields(model: Model) -> Iterator[tuple[ModelParam, str]]:
    """The parameters that are options of their own, each with its section. Which picture of a task it is, is not one of
    them: it may be several."""
    place = model.feed.place if isinstance(model.feed, JobFeed) else None
    for field in model.fields:
        if field.name != place:
            yield field, _GOES_ON if model.feed and field.name in model.feed.names else _TAKES


def _make_option(field: ModelParam, model: Model) -> click.Option:
    fed = model.feed is not None and field.name in model.feed.names
    needed = field.required and not fed
    certain = needed and field.documented is not Documented.UPSTREAM  # else --anyway can do without
    text = _sentence(field.help) + (_REQUIRED if needed and not certain else "")
    return click.Option(
        [f"--{field.option_name}", _FIELD + field.name],
        type=ParamType(field),
        metavar=field.metavar,
        required=certain,
        help=text,
    )


def _source_options(model: Model) -> list[click.Option]:
    if model.feed is None:
        return []
    what = "video" if place_flag(model) == "--video-no" else "picture"
    by_job = isinstance(model.feed, JobFeed)
    looked_up = "A completed task of yours, whose jobId is looked up now." if by_job else "A completed task of yours."
    options = [
        click.Option(
            ["--after"],
            metavar="REF",
            help="A task of yours. If it has not ended yet, this one waits until it is completed.",
        ),
        click.Option(["--from", "earlier"], metavar="REF", help=looked_up),
    ]
    if (flag := place_flag(model)) is not None:
        several = "With --after also several (0,2) or all, which makes a task of each"
        text = f"Which of its {what}s, from 0 to 3. {several}; or pick: you choose once they are there."
        options.append(click.Option([flag, "numbers"], type=ImageNumberType(), metavar="N|N,N|all|pick", help=text))
    return options


def _describe(model: Model) -> str:
    count = _COUNTS.get(model.makes, str(model.makes))
    kind = {"image": "picture"}.get(model.media, model.media)
    lines = [model.summary]
    if str(count) not in model.summary:
        lines.append(f"It makes {count} {kind}{'' if model.makes == 1 else 's'}.")
    if model.is_presumed:
        lines.append("The provider lists it without a page of its own, so it may not know it; to try costs nothing.")
    if model.is_open:
        lines.append("Nobody documents all that it takes; whatever else you know of goes with --param.")
    if any(isinstance(it, MaskParam) for it in model.fields):
        lines.append(_MASKS)
    return f"{' '.join(lines)}\n\nPrints the ref of the task. The service submits it, and notifies you at its end."


def _example(model: Model) -> str:
    words = [f"receiver submit {models.command_name(model.name)}"]
    if model.feed is not None and model.prompt_param not in model.any_of:
        flag = place_flag(model)
        words.append("--after hero" + (f" {flag} 0" if flag else ""))
    takes = [field for field, section in _fields(model) if section == _TAKES]
    needed = [it for it in takes if it.required] or [it for it in takes if it.name == model.prompt_param]
    words += [f"--{it.option_name} {_sample(it)}" for it in needed]
    return f"\b\nFor example:\n  {' '.join(words)}"


def _sample(field: ModelParam) -> str:
    match field:
        case ChoiceParam():
            return next(iter(field.words))
        case NumberParam():
            return f"{(field.least + field.most) / 2:.1f}"
        case TextParam() if field.prompt:
            return '"a lighthouse at dusk"'
        case SizeParam():
            return "2048x1024"
        case PlaceParam():
            return "1024x1024+512+0"
        case MaskParam():
            return "https://example.org/mask.png"
    return "0" if field.metavar == "N" else "…"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _submit(client: Client, model: Model, given: dict[str, Any]) -> None:
    """Check what the options say, look up what they name, and submit it."""
    how = Sending(given.pop("key"), given.pop("wait"), given.pop("folder"), given.pop("as_json"))
    params = {name.removeprefix(_FIELD): given[name] for name in given if name.startswith(_FIELD)}
    params = {name: value for name, value in params.items() if value is not None}
    params |= read_pairs(given.get("pairs", ()), model)
    after, earlier, numbers = given.get("after"), given.get("earlier"), given.get("numbers")
    check_source(model, params, after, earlier, numbers)
    allowed, anyway = given["allow_permutations"], given["anyway"]
    if after is not None:
        _check_params(model, params, allow_permutations=allowed, anyway=anyway, fed=True)
    source = find_source(client, model, after, earlier, numbers)
    params = {**params, **source.params}
    fed = source.wait_for is not None
    hints = _check_params(model, params, allow_permutations=allowed, anyway=anyway, fed=fed)
    for hint in hints:
        note(f"receiver: tip: {hint}")
    asked = NewTask(
        model=model.name,
        params=_in_order(model, params),
        label=given["label"],
        targets=given["targets"] or None,
        poll_only=given["poll_only"],
        allow_permutations=allowed,
        anyway=anyway,
        wait_for=source.wait_for,
        priority=given["priority"],
    )
    submit_once(client, lambda key: client.create_task(replace(asked, idempotency_key=key)), how, hints)


def _check_params(model: Model, params: Mapping[str, Any], **more: bool) -> Sequence[str]:
    """The hints about parameters. Raises UsageError if they are wrong."""
    try:
        models.check_params(model.name, params, **more)
    except RequestRefused as refused:
        raise click.UsageError(explain_in_options(refused, model)) from None
    return models.param_hints(model.name, params)


def _in_order(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the declaration orders them, and then the others."""
    declared = {field.name: params[field.name] for field in model.fields if field.name in params}
    return declared | dict(params)
