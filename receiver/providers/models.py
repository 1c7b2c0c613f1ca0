"""The models that we know, and checks of their parameters. Pure.

`check_params` refuses what the provider would refuse, with its own code, before anything is sent or paid for. What it
accepts becomes canonical JSON: the same parameters are the same bytes. To add a model, declare it in
`vtrix/midjourney` or a module like it.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from receiver.core.errors import RequestRefused, SettingsError
from receiver.providers.parameters import INVALID, Model, TextParam, has_permutations
from receiver.providers.vtrix import midjourney

MODELS: Mapping[str, Model] = {model.name: model for model in midjourney.MODELS}
OUTPAINT = midjourney.OUTPAINT.name


def find_model(model: str) -> Model:
    """The declaration of `model`. Raises `RequestRefused` (422, `unknown_model`)."""
    if model not in MODELS:
        remedy = f"use {_join_names(MODELS)}"
        raise RequestRefused(422, "unknown_model", f"unknown model {_quote_name(model)}", "model", remedy=remedy)
    return MODELS[model]


def short_model_name(model: str) -> str:
    """A model's name without what all names begin with, as lists show it: `outpaint`."""
    return model.removeprefix(midjourney.PREFIX)


def full_model_name(name: str) -> str:
    """The known model whose name or short name this is; any other name as it is."""
    return f"{midjourney.PREFIX}{name}" if f"{midjourney.PREFIX}{name}" in MODELS else name


def check_params(model: str, params: Mapping[str, object], *, allow_permutations: bool = False) -> bytes:
    """`params` as canonical JSON: declared order, numbers in one spelling, without nulls and without a callback.

    Raises `RequestRefused` (422) that names the field and has the provider's code, or `invalid_parameter` if there is
    none; `unknown_model` too. Checked first are `callback` and undeclared keys, then what is missing, then what is
    invalid. Permutation braces in a prompt are refused unless `allow_permutations`.
    """
    declared = find_model(model)
    _refuse_foreign(declared, params)
    checked = declared.parse_params(params)
    if not allow_permutations:
        _refuse_permutations(declared, checked)
    return msgspec.json.encode(checked)


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
    fields = MODELS[model].fields if model in MODELS else ()
    texts = (params.get(field.name) for field in fields if isinstance(field, TextParam) and field.prompt)
    return next((text for text in texts if isinstance(text, str)), None)


def prompt_param(model: str) -> str | None:
    """The parameter in which the model takes a prompt, if it takes one."""
    fields = MODELS[model].fields if model in MODELS else ()
    return next((field.name for field in fields if isinstance(field, TextParam) and field.prompt), None)


def param_hints(model: str, params: Mapping[str, object]) -> tuple[str, ...]:
    """What is allowed but probably a mistake, a sentence each, such as a task id given as `jobId`."""
    texts = (field for field in find_model(model).fields if isinstance(field, TextParam))
    return tuple(hint for field in texts if (hint := field.find_hint(params.get(field.name))))


def _refuse_foreign(model: Model, params: Mapping[str, object]) -> None:
    if model.callback.name in params:
        raise RequestRefused(422, INVALID, "the service sets the callback", model.callback.name, remedy="leave it out")
    names = {field.name for field in model.fields}
    for name in params:
        if name not in names:
            raise _unknown_parameter(name, model, names)


def _refuse_permutations(model: Model, checked: Mapping[str, object]) -> None:
    for field in model.fields:
        text = checked.get(field.name)
        if isinstance(field, TextParam) and field.prompt and isinstance(text, str) and has_permutations(text):
            problem = f"{field.name} has permutation braces {{a,b}}: they make several generations, each of them billed"
            remedy = "remove the braces, or set allow_permutations"
            raise RequestRefused(422, INVALID, problem, field.name, remedy=remedy)


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


def _join_names(names: Mapping[str, object] | list[str]) -> str:
    return ", ".join(names)


def _quote_name(name: str) -> str:
    return ascii(name[:64])
