"""What somebody typed for one model, in the form of another one; and in an address. Pure."""

from collections.abc import Sequence
from urllib.parse import quote, urlencode

from receiver.core.errors import RequestRefused
from receiver.providers.declarations import Model
from receiver.providers.parameters import ModelParam, TextParam
from receiver.web.pages.going_on.form_view import Typing
from receiver.web.pages.going_on.forms import Typed, choose_text


def carry_typed(old: Model, new: Model, typed: Typed) -> dict[str, str]:
    """What was typed for the `old` model, as far as the `new` one takes it: fields of the same name, and the prompt."""
    carried = dict[str, str]()
    for field in new.fields:
        is_prompt = field.name == new.prompt_param
        before = old.find_param(old.prompt_param or "" if is_prompt else field.name)
        text = choose_text(before, typed) if before is not None else ""
        if text and _takes(field, text):
            carried[field.name] = text
    return carried


def typing_query(typing: Typing, known: Sequence[str]) -> list[tuple[str, str]]:
    """What was typed, as parameters of an address."""
    query = list(typing.typed.items())
    if typing.label:
        query.append(("label", typing.label))
    if typing.targets is not None:
        query += [("told", "1"), *(("target", it) for it in typing.targets if it in known)]
    return query


def write_query(query: Sequence[tuple[str, str]]) -> str:
    """The query of an address."""
    return urlencode(query, quote_via=quote)


def _takes(field: ModelParam, text: str) -> bool:
    """Whether it is kept: any text, since somebody wrote it, and any value that is right."""
    if isinstance(field, TextParam):
        return True
    try:
        field.parse_value(field.read_text(text))
    except (ValueError, RequestRefused):
        return False
    return True
