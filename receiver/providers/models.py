"""The models that we know, and checks of their parameters. Pure.

`check_params` refuses what the provider would refuse, with its own code, before anything is sent or paid for. What it
accepts becomes canonical JSON: the same parameters are the same bytes. To add a model, declare it in
`vtrix/midjourney` or a module like it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from receiver.core.errors import RequestRefused, SettingsError
from receiver.core.types import Image
from receiver.providers.declarations import Model, UrlFeed, check_undeclared
from receiver.providers.parameters import INVALID, Documented, TextParam, has_permutations
from receiver.providers.vtrix import midjourney
from receiver.providers.vtrix.prompt_flags import count_repeats, find_flag_hints

MODELS: Mapping[str, Model] = {model.name: model for model in midjourney.MODELS}
OUTPAINT = midjourney.OUTPAINT.name
_CALLBACK = "callback"
_PRESUMED = "the provider lists {} but does not describe it, so it may refuse it; a task that it refuses costs nothing"
MODEL_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$"  # of any model's name, declared here or not
_MODEL_NAME = re.compile(MODEL_PATTERN)


def find_model(model: str) -> Model:
    """The declaration of `model`. Raises `RequestRefused` (422, `unknown_model`)."""
    if model not in MODELS:
        raise _unknown_model(model)
    return MODELS[model]


def short_model_name(model: str) -> str:
    """A model's name without what all names begin with, as lists show it: `outpaint`."""
    return model.removeprefix(midjourney.PREFIX)


def full_model_name(name: str) -> str:
    """The known model whose name, short name or command this is; any other name as it is."""
    return _BY_COMMAND.get(command_name(name), name)


def command_name(model: str) -> str:
    """The name of a model's command: `remove-background`."""
    return short_model_name(model).lower().replace("_", "-")


def check_params(
    model: str,
    params: Mapping[str, object],
    *,
    allow_permutations: bool = False,
    anyway: bool = False,
    fed: bool = False,
) -> bytes:
    """`params` as canonical JSON: declared order, numbers in one spelling, without nulls and without a callback.

    Raises `RequestRefused` (422) that names the field and has the provider's code, or `invalid_parameter` if there is
    none; `unknown_model` too. Checked first are `callback` and undeclared keys, then what is missing, then what is
    invalid. What makes several billed generations is refused unless `allow_permutations`. `anyway`: what is only
    `unlikely` is accepted, and so is a model that is not declared here. `fed`: an earlier task fills some of them.
    """
    if anyway and model not in MODELS:
        return _check_undeclared_model(model, params)
    declared = find_model(model)
    _refuse_foreign(declared, params, fed=fed)
    checked = declared.parse_params(params, anyway=anyway, fed=fed)
    if not allow_permutations:
        _refuse_permutations(declared, checked)
    return msgspec.json.encode(checked)


def fill_params(model: str, params: bytes, image: Image, address: str) -> bytes | None:
    """`params` with what a picture fills of them: the id of its job and its number, or its `address`.

    None if the picture came without the id of its job. Raises `RequestRefused` for what the model does not take: the
    number of a fifth picture, an address that is too long.
    """
    feed = find_model(model).feed
    if feed is None:
        return params
    given: dict[str, object] = dict(msgspec.json.decode(params))
    if isinstance(feed, UrlFeed):
        given[feed.url] = address
    else:
        if image.job_id is None:
            return None
        given[feed.job] = image.job_id
        if feed.place is not None:
            given[feed.place] = image.image_no
    return check_params(model, given, allow_permutations=True, anyway=True)


def is_filled(model: str, params: bytes) -> bool:
    """Whether `params` have what a picture fills of them, or need nothing from one."""
    feed = MODELS[model].feed if model in MODELS else None
    return feed is None or msgspec.json.decode(params).get(feed.names[0]) is not None


def check_model_globs(globs: Sequence[str]) -> SettingsError | None:
    """Which patterns match no known model, or None if each matches one.

    This is only a warning: a task with a minted URL may be of a model that is not declared here.
    """
    idle = [glob for glob in globs if not any(fnmatchcase(name, glob) for name in MODELS)]
    if not idle:
        return None
    return SettingsError(
        f"{', '.join(map(_quote_name, idle))} matches no known model", remedy=f"known models: {_join_names(MODELS)}"
    )


def prompt_of(model: str, params: Mapping[str, object]) -> str | None:
    """The prompt that a person typed, if there is one, for pings and pages."""
    return MODELS[model].prompt_of(params) if model in MODELS else None


def prompt_param(model: str) -> str | None:
    """The parameter in which the model takes a prompt, if it takes one."""
    return _PROMPTS.get(model)


def find_word(model: str, name: str, value: object) -> str | None:
    """The word for what a parameter is set to, if the provider gets a number for it: `creative` for an upscale's type
    1."""
    param = MODELS[model].find_param(name) if model in MODELS else None
    return param.find_word(value) if param is not None else None


def param_hints(model: str, params: Mapping[str, object]) -> tuple[str, ...]:
    """What is allowed but probably a mistake, or what nobody documents, a sentence each."""
    if model not in MODELS:
        return (f"{_quote_name(model)} is not a model that receiver knows: it is sent unchecked",)
    declared = MODELS[model]
    hints = [_PRESUMED.format(short_model_name(model))] if declared.is_presumed else []
    given = [field for field in declared.fields if params.get(field.name) is not None]
    texts = [field for field in given if isinstance(field, TextParam)]
    hints += [hint for field in texts if (hint := field.find_hint(params.get(field.name)))]
    unchecked = [field.name for field in given if field.documented is Documented.NOBODY]
    unchecked += [name for name in params if declared.find_param(name) is None]
    if unchecked:
        they_are = "they are" if len(unchecked) > 1 else "it is"
        hints.append(f"nobody documents {', '.join(map(_quote_name, unchecked))}: {they_are} sent unchecked")
    hints += declared.find_hints(params)
    hints += find_flag_hints(prompt_of(model, params))
    return tuple(hints)


def _check_undeclared_model(model: str, params: Mapping[str, object]) -> bytes:
    if not _MODEL_NAME.fullmatch(model):
        problem = f"{_quote_name(model)} cannot be a model's name: it has letters, digits and . _ / - only"
        raise RequestRefused(422, "unknown_model", problem, "model")
    if _CALLBACK in params:
        raise _sets_callback(_CALLBACK)
    return msgspec.json.encode(check_undeclared(params, model), order="sorted")


def _refuse_foreign(model: Model, params: Mapping[str, object], *, fed: bool) -> None:
    if model.callback.name in params:
        raise _sets_callback(model.callback.name)
    names = {field.name for field in model.fields}
    filled = model.feed.names if fed and model.feed else ()
    for name in params:
        if name in filled and params[name] is not None:
            problem = f"{name} is filled from the task that this one goes on from"
            raise RequestRefused(422, INVALID, problem, name, remedy="leave it out")
        if name not in names and not model.is_open:
            raise _unknown_parameter(name, model, names)


def _refuse_permutations(model: Model, checked: Mapping[str, object]) -> None:
    name = _PROMPTS[model.name]
    text = checked.get(name) if name else None
    if not isinstance(text, str):
        return
    remedy = "{}, or set allow_permutations"
    if has_permutations(text):
        problem = f"{name} has permutation braces {{a,b}}: they make several generations, each of them billed"
        raise RequestRefused(422, INVALID, problem, name, remedy=remedy.format("remove the braces"))
    if (count := count_repeats(text)) > 1:
        problem = f"{name} has --repeat {count}: it makes {count} generations, each of them billed"
        raise RequestRefused(422, INVALID, problem, name, remedy=remedy.format("remove it"))


def _sets_callback(name: str) -> RequestRefused:
    return RequestRefused(422, INVALID, "the service sets the callback", name, remedy="leave it out")


def _unknown_model(model: str) -> RequestRefused:
    """The refusal, with the nearest model, or else with all of them."""
    from difflib import get_close_matches  # only for a name that is wrong

    problem = f"unknown model {_quote_name(model)}"
    if near := get_close_matches(command_name(model[:64]), _BY_COMMAND, n=1):
        return RequestRefused(422, "unknown_model", f"{problem} (did you mean {_BY_COMMAND[near[0]]}?)", "model")
    remedy = f"use {_join_names(MODELS)}; or submit it `anyway`, and it is sent unchecked"
    return RequestRefused(422, "unknown_model", problem, "model", remedy=remedy)


def _unknown_parameter(name: str, model: Model, names: set[str]) -> RequestRefused:
    """The refusal, with the nearest of `names` however it was spelt (`job_id` is `jobId`), or else with all of them."""
    from difflib import get_close_matches  # only for a name that is wrong

    folded = {known.lower(): known for known in names}
    near = get_close_matches(name[:64].replace("_", "").lower(), folded, n=1)
    problem = f"{model.name} has no parameter {_quote_name(name)}"
    if near:
        problem, remedy = f"{problem} (did you mean {folded[near[0]]}?)", None
    else:
        remedy = f"it takes {_join_names(sorted(names))}"
    return RequestRefused(422, INVALID, problem, _quote_name(name).strip("'\""), remedy=remedy)


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _quote_name(name: str) -> str:
    return ascii(name[:64])


_PROMPTS: Mapping[str, str | None] = {name: model.prompt_param for name, model in MODELS.items()}
_BY_COMMAND: Mapping[str, str] = {command_name(name): name for name in MODELS}
