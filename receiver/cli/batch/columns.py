"""The columns of a batch's file: what each name stands for. Pure.

A parameter may be spelt as on the wire, as the option of its command or in snake case, in capitals or not.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from msgspec import Struct

from receiver.providers.models import MODELS, prompt_param

EXTRA = "x-"  # columns of the user's own, which come back with the results
WAYS = ("after", "from", "wait_for")  # to say what a row goes on from
PLACES = ("imageno", "videono")  # of a row that goes on from a task: from which of its pictures
PROMPT = "prompt"  # the parameter in which a model takes one, whatever it is called
_RESERVED = {
    "model": "model",
    "label": "label",
    "target": "target",
    "targets": "target",
    "priority": "priority",
    "key": "key",
    "idempotencykey": "key",
    "pollonly": "poll_only",
    "allowpermutations": "allow_permutations",
    "anyway": "anyway",
    "name": "name",
    "after": "after",
    "from": "from",
    "waitfor": "wait_for",
}
_NAME_MOST = 64  # characters of a wrong name that are shown
RESERVED = frozenset(_RESERVED.values())
_OF_CHAINS = ("label", "target", "targets", "priority", "key", "pollonly")  # of these, where a file has the steps


class Column(Struct, frozen=True):
    """What a column stands for: a reserved word, a parameter by its folded name, or an `extra` one, which is carried
    along. Without a name it must be empty. `title` is how the file spells it."""

    name: str
    extra: bool = False
    title: str = ""


@functools.lru_cache(maxsize=1_000)
def fold_name(name: str) -> str:
    """A name in the form in which all its spellings are equal: `imageNo`, `image-no` and `image_no` are `imageno`."""
    return re.sub(r"[-_\s]", "", name).lower()


@functools.lru_cache(maxsize=1_000)
def param_name(model: str, folded: str) -> str | None:
    """The parameter of `model` that a folded name stands for; None if it has none."""
    fields = MODELS[model].fields if model in MODELS else ()
    names = {fold_name(it.option_name): it.name for it in fields} | {fold_name(it.name): it.name for it in fields}
    return names.get(folded) or (prompt_param(model) if folded == PROMPT else None)


def is_known_column(name: str, uses: Sequence[str] | None = None) -> bool:
    """Whether a header's cell names a column that we know; `uses` are the names that a chain uses, if there is one."""
    folded = fold_name(name)
    if uses is not None:
        return _is_extra(name) or folded in _OF_CHAINS or folded in map(fold_name, uses)
    return _is_extra(name) or folded in _RESERVED or folded in _known_params()


def resolve_columns(
    names: Sequence[str], *, json: bool = False, uses: Sequence[str] | None = None
) -> tuple[tuple[Column, ...], list[str]]:
    """What each name stands for, and what is wrong with them. `json`: they are keys, and `params` may be one. `uses`:
    they are those that a chain uses, as it spells them, instead of parameters."""
    columns, faults, seen = [], [], dict[str, str]()
    used = None if uses is None else {fold_name(it): it for it in uses}
    for name in names:
        shown = ascii(name.strip()[:_NAME_MOST])
        folded = fold_name(name)
        if _is_extra(name):
            column = Column(name.strip(), extra=True, title=name.strip())
        elif used is not None and folded:
            if folded not in used and folded not in _OF_CHAINS:
                faults.append(_unknown_to_chain(shown, folded, used))
                continue
            column = Column(_RESERVED[folded] if folded in _OF_CHAINS else used[folded], title=name.strip())
        elif json and name == "params":
            column = Column(name, title=name)
        elif not folded and not json:
            columns.append(Column(""))
            continue
        elif folded in _RESERVED:
            column = Column(_RESERVED[folded], title=name.strip())
        elif folded in _known_params():
            column = Column(folded, title=name.strip())
        else:
            faults.append(_unknown(shown, folded))
            continue
        if column.name in seen:
            faults.append(f"{shown} and {seen[column.name][:_NAME_MOST]!a} are the same column: leave one out")
        seen.setdefault(column.name, name.strip())
        columns.append(column)
    return tuple(columns), faults


def _is_extra(name: str) -> bool:
    return name.strip()[:2].lower() == EXTRA and "\0" not in name and len(name.strip()) <= _NAME_MOST


@functools.cache
def _known_params() -> frozenset[str]:
    return frozenset({PROMPT, *_spellings()})


@functools.cache
def _spellings() -> Mapping[str, str]:
    """Every parameter of any model by its folded names: its option's, and the one on the wire."""
    fields = [field for model in MODELS.values() for field in model.fields]
    options = {fold_name(it.option_name): it.option_name for it in fields}
    return options | {fold_name(it.name): it.name for it in fields}


def _unknown_to_chain(shown: str, folded: str, used: Mapping[str, str]) -> str:
    known = {**used, **{it: _RESERVED[it] for it in _OF_CHAINS}}
    near = get_close_matches(folded[:_NAME_MOST], known, n=1)
    more = f" (did you mean {known[near[0]]}?)" if near else f": it uses {', '.join(used.values()) or 'no names'}"
    return f"the chain does not use {shown}{more}; a column of your own begins with x-"


def _unknown(shown: str, folded: str) -> str:
    spelt = {fold_name(field.name): field.name for model in MODELS.values() for field in model.fields}
    known = {**_spellings(), **spelt, PROMPT: PROMPT, **_RESERVED}
    near = get_close_matches(folded[:_NAME_MOST], known, n=1)
    if near:
        return f"there is no column {shown} (did you mean {known[near[0]]}?)"
    own = "a column of your own begins with x-"
    every = dict.fromkeys([*spelt.values(), PROMPT, *_RESERVED.values()])
    return f"there is no column {shown}: known are {', '.join(every)}; {own}"
