"""A model's parameters as options of the command line: what is written for them, and how their faults are said. Pure
but for the types of click."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from receiver.cli.batch.columns import fold_name
from receiver.core.errors import RequestRefused
from receiver.providers.declarations import Model
from receiver.providers.parameters import ModelParam, read_json_or_text

_OURS = {
    "submit it `anyway`": "say --anyway",
    "set allow_permutations": "say --allow-permutations",
    "allow_permutations": "--allow-permutations",
}


class ParamType(click.ParamType[Any]):
    """What a person writes for a parameter, as the kind of value that it takes. Its range is checked later, with all
    the others."""

    def __init__(self, param: ModelParam) -> None:
        self.param = param
        self.name = param.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        text = value.strip()
        if not text:
            self.fail("it is empty", param, ctx)
        try:
            return self.param.read_text(text)
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


def explain_in_options(refused: RequestRefused, model: Model) -> str:
    """A refusal with the options in the place of parameters: `--image-no must be a whole number from 0 to 3`."""
    text = str(refused).replace(", sent as a JSON number", "")  # how it is sent does not matter here
    for ours, option in _OURS.items():
        text = text.replace(ours, option)
    options = {field.name: f"--{field.option_name}" for field in model.fields}
    text = re.sub(r"(?<=did you mean )\w+", lambda it: options.get(it[0], it[0]), text)
    text, takes, listed = text.partition("; it takes ")
    if takes:  # all its parameters
        takes += ", ".join(options.get(name, name) for name in listed.split(", "))
    for field in model.fields:
        option = f"--{field.option_name}"
        if text.startswith(f"{field.name}."):  # a part of it
            return f"{option}: {text.removeprefix(f'{field.name}.')}"
        is_word = field.name.isalpha() and field.name.islower()  # such as `text`, which may mean something else there
        if not is_word or refused.field == field.name:
            text = re.sub(rf"(?<![\w-]){field.name}(?![\w-])", option, text, count=1 if is_word else 0)
    return text + takes


def read_pairs(pairs: Sequence[str], model: Model | None = None, flag: str = "--param") -> dict[str, Any]:
    """`NAME=VALUE`, each with the value that it stands for: what the model's parameter takes, or else JSON if it is
    that, or else text; nothing after the `=` is None. Raises UsageError."""
    found: dict[str, Any] = {}
    names = spellings(model) if model is not None else {}
    for pair in pairs:
        name, given, text = pair.partition("=")
        name = name.strip()
        if not given or not name:
            raise click.UsageError(f"{flag} {pair[:80]}: write NAME=VALUE")
        param = names.get(fold_name(name))
        name = param.name if param is not None else name
        if name in found:
            raise click.UsageError(f"{flag} {name}: it is given twice")
        found[name] = _read_value(text.strip(), param, f"{flag} {name}")
    return found


def _read_value(text: str, param: ModelParam | None, where: str) -> Any:
    if not text:
        return None
    if param is None:
        return read_json_or_text(text)
    try:
        return param.read_text(text)
    except ValueError as wrong:
        raise click.UsageError(f"{where}: {wrong}") from None


def spellings(model: Model) -> Mapping[str, ModelParam]:
    """The model's parameters by their folded names, as they are on the wire and on the command line."""
    named = {fold_name(it.option_name): it for it in model.fields} | {fold_name(it.name): it for it in model.fields}
    prompt = model.find_param(model.prompt_param or "")
    return named if prompt is None else {"prompt": prompt} | named
