"""Each model's parameters, ranges and error codes, as declarations; pure.

`check` refuses what the provider would refuse, with the provider's own code, before anything is sent or paid for. What
it lets pass is canonical JSON: the same parameters are the same bytes. A new model is a declaration, in `midjourney` or
a module like it.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from receiver.core.errors import RequestRefused
from receiver.providers.parameters import INVALID, Model, TextParam, has_permutations
from receiver.providers.vtrix import midjourney

MODELS: Mapping[str, Model] = {model.name: model for model in midjourney.MODELS}


def find_model(model: str) -> Model:
    """The declaration of `model`. Raises `Refused` (422, `unknown_model`) that lists the known ones."""
    if model not in MODELS:
        raise RequestRefused(
            422, "unknown_model", f"{_quote_name(model)} is not a known model; use {_join_names(MODELS)}", "model"
        )
    return MODELS[model]


def check_params(model: str, params: Mapping[str, object], *, allow_permutations: bool = False) -> bytes:
    """`params` as canonical JSON: declared order, numbers in one spelling, nulls left out, no callback.

    Raises `Refused` (422) with the field at fault and the provider's code, or `invalid_parameter` where it has none;
    `unknown_model`. `callback` and keys that are not declared are refused first, then what is missing, then what is
    invalid. Permutation braces in a prompt are refused unless `allow_permutations`.
    """
    declared = find_model(model)
    _refuse_foreign(declared, params)
    checked = declared.parse_params(params)
    if not allow_permutations:
        _refuse_permutations(declared, checked)
    return msgspec.json.encode(checked)


def check_model_globs(globs: Sequence[str]) -> str | None:
    """What is wrong with patterns for models' names, in a line: those that match none; None if each matches one.

    A task whose URL was minted may be of a model that is not known here, so this is no error.
    """
    idle = [glob for glob in globs if not any(fnmatchcase(name, glob) for name in MODELS)]
    if not idle:
        return None
    return f"{', '.join(map(_quote_name, idle))} matches no model known here; there is {_join_names(MODELS)}"


def prompt_of(model: str, params: Mapping[str, object]) -> str | None:
    """The words a person typed, if there are any: what a ping or a page shows of a task."""
    fields = MODELS[model].fields if model in MODELS else ()
    texts = (params.get(field.name) for field in fields if isinstance(field, TextParam) and field.prompt)
    return next((text for text in texts if isinstance(text, str)), None)


def param_hints(model: str, params: Mapping[str, object]) -> tuple[str, ...]:
    """What is allowed but probably a mistake, a sentence each: a task id given as `jobId`."""
    texts = (field for field in find_model(model).fields if isinstance(field, TextParam))
    return tuple(hint for field in texts if (hint := field.find_hint(params.get(field.name))))


def _refuse_foreign(model: Model, params: Mapping[str, object]) -> None:
    if model.callback.name in params:
        raise RequestRefused(422, INVALID, "the callback is ours to set; leave it out", model.callback.name)
    names = {field.name for field in model.fields}
    for name in params:
        if name not in names:
            message = f"{_quote_name(name)} is not a parameter of {model.name}; {_suggest_param(name, names)}"
            raise RequestRefused(422, INVALID, message, _quote_name(name).strip("'\""))


def _refuse_permutations(model: Model, checked: Mapping[str, object]) -> None:
    for field in model.fields:
        text = checked.get(field.name)
        if isinstance(field, TextParam) and field.prompt and isinstance(text, str) and has_permutations(text):
            message = (
                f"{field.name} has permutation braces {{a,b}}, which make several generations, each billed; "
                "take them out, or set allow_permutations"
            )
            raise RequestRefused(422, INVALID, message, field.name)


def _suggest_param(name: str, names: set[str]) -> str:
    """The nearest of `names`, whichever way it was spelt (`job_id` is `jobId`), else all of them."""
    from difflib import get_close_matches  # only for a name that is wrong

    folded = {known.lower(): known for known in names}
    near = get_close_matches(name[:64].replace("_", "").lower(), folded, n=1)
    return f"did you mean {folded[near[0]]}?" if near else f"it takes {_join_names(sorted(names))}"


def _join_names(names: Mapping[str, object] | list[str]) -> str:
    return ", ".join(names)


def _quote_name(name: str) -> str:
    return ascii(name[:64])
