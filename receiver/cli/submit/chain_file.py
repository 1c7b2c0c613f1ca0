"""The file of a chain (TOML): its steps, and everything that is wrong with it, at once. Pure.

What a step needs of its parameters is checked in `chain_tasks`, once it is known what its names stand for.
"""

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

from receiver.cli.batch.columns import PLACES, fold_name
from receiver.cli.batch.refusal_text import explain_refusal
from receiver.cli.submit.chain_values import WrongText, find_names
from receiver.client.schemas import LABEL_MOST, STEP_NAME_HOW, is_step_name
from receiver.core.chains import CHAIN_MOST
from receiver.core.errors import RequestRefused
from receiver.providers import models
from receiver.providers.declarations import Model
from receiver.providers.parameters import INVALID

FILE_MOST = 1 << 20  # bytes
_STEPS_MOST = 1_000  # that are looked at
_CHAIN_KEYS = ("label", "target", "targets", "poll_only", "anyway", "step")
_STEP_KEYS = (
    *("name", "model", "after", "from", "image_no", "params", "label", "target", "targets"),
    *("poll_only", "allow_permutations", "anyway", "ping"),
)
_FLAGS = ("poll_only", "allow_permutations", "anyway", "ping")


class ChainFault(Struct, frozen=True):
    """What is wrong with a chain, and in which of its steps."""

    step: str | None
    text: str

    def __str__(self) -> str:
        return self.text if self.step is None else f"step {self.step}: {self.text}"


class ChainStep(Struct, frozen=True):
    """One step as it stands in the file. It goes on from the step `after`, or from the task `source`."""

    name: str
    model: Model
    params: dict[str, Any] = {}
    after: str | None = None
    source: str | None = None
    image_no: Any = None
    label: str | None = None
    targets: tuple[str, ...] | None = None
    poll_only: bool = False
    allow_permutations: bool = False
    anyway: bool = False
    ping: bool | None = None


class ChainFile(Struct, frozen=True):
    """A chain: its steps, each after the one that it goes on from, and the names whose values it needs."""

    steps: tuple[ChainStep, ...]
    names: tuple[str, ...]
    label: str | None = None
    order: tuple[str, ...] = ()  # of the steps in the file, those that cannot be read too

    def sort_faults(self, faults: Iterable[ChainFault]) -> list[ChainFault]:
        """First what is wrong with the whole, then the steps as the file has them."""
        places = {name: place for place, name in enumerate(self.order)}
        return sorted(faults, key=lambda it: -1 if it.step is None else places.get(it.step, len(places)))


def read_chain(content: bytes) -> tuple[ChainFile, list[ChainFault]]:
    """The chain that a file describes, without the steps that cannot be read, and what is wrong with it."""
    try:
        found = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return _unreadable(f"byte {error.start + 1:,} is not UTF-8: save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        return _unreadable(f"it is not TOML: {error}")
    except RecursionError:
        return _unreadable("it is nested too deeply")
    faults = [ChainFault(None, text) for text in _unknown_keys(found, _CHAIN_KEYS)]
    common = _read_common(found, None, faults)
    given = found.get("step")
    if not isinstance(given, list) or not given or not all(isinstance(it, dict) for it in given):
        return ChainFile((), ()), [*faults, ChainFault(None, "it has no steps: each begins with [[step]]")]
    if len(given) > _STEPS_MOST:
        problem = f"it has {len(given):,} steps, and a chain may have {CHAIN_MOST} tasks"
        return ChainFile((), ()), [*faults, ChainFault(None, problem)]
    names = [_name_of(it, place, faults) for place, it in enumerate(given)]
    faults += [ChainFault(it, "two steps have this name") for it in sorted({it for it in names if names.count(it) > 1})]
    given = [_spell_place(it, name, faults) for name, it in zip(names, given, strict=False)]
    read = [_read_step(name, it, common, faults) for name, it in zip(names, given, strict=True)]
    steps = [it for it in read if it is not None]
    faults += _find_wrong_afters(steps, names)
    ordered = _order_steps(steps)
    if len(ordered) < len(steps):
        faults += _find_circles([it for it in steps if it not in ordered])
    roots = [it.name for it in steps if it.after is None]
    if len(roots) > 1:
        how = "a file has one chain, so every other step needs `after`"
        faults.append(ChainFault(None, f"{_join(roots)} each begin a chain: {how}"))
    label = common.get("label")
    used = tuple(_find_all_names(steps, label, faults))
    chain = ChainFile(tuple(ordered), used, label, tuple(names))
    return chain, chain.sort_faults(faults)


def _unreadable(why: str) -> tuple[ChainFile, list[ChainFault]]:
    return ChainFile((), ()), [ChainFault(None, why)]


def _name_of(step: Mapping[str, Any], place: int, faults: list[ChainFault]) -> str:
    """The step's name, or how it is called in faults."""
    name = step.get("name")
    instead = f"{place + 1}"
    if name is None:
        faults.append(ChainFault(instead, "it has no name"))
    elif not isinstance(name, str) or not is_step_name(name):
        faults.append(ChainFault(instead, f"name: {str(name)[:60]!a} cannot be one: {STEP_NAME_HOW}"))
    else:
        return name
    return instead


def _spell_place(step: Mapping[str, Any], name: str, faults: list[ChainFault]) -> dict[str, Any]:
    """The step with `image_no` spelt so, however the file spells it."""
    spelt = {key: "image_no" if fold_name(key) in PLACES else key for key in step}
    if sum(it == "image_no" for it in spelt.values()) > 1:
        faults.append(ChainFault(name, "image_no: it is given twice"))
    return {spelt[key]: it for key, it in step.items()}


def _read_step(
    name: str, given: Mapping[str, Any], common: Mapping[str, Any], faults: list[ChainFault]
) -> ChainStep | None:
    faults += [ChainFault(name, text) for text in _unknown_keys(given, _STEP_KEYS)]
    own = _read_common(given, name, faults)
    params = given.get("params", {})
    if not isinstance(params, dict):
        faults.append(ChainFault(name, "params: it must be a table, as in params = { scale = 1.5 }"))
        params = {}
    for key in ("after", "from"):
        if key in given and (not isinstance(given[key], str) or not given[key].strip()):
            faults.append(ChainFault(name, f"{key}: it must be text"))
            return None
    if "after" in given and "from" in given:
        faults.append(ChainFault(name, "give either after (a step) or from (a task), not both"))
    try:
        model = _find_model(given.get("model"))
    except RequestRefused as refused:
        faults.append(ChainFault(name, explain_refusal(INVALID, refused.problem, "model", refused.remedy)))
        return None
    return ChainStep(
        name=name,
        model=model,
        params=params,
        after=given.get("after"),
        source=given.get("from"),
        image_no=given.get("image_no"),
        **{**common, **own},
    )


def _find_model(given: object) -> Model:
    if not isinstance(given, str):
        raise RequestRefused(422, INVALID, "it is missing" if given is None else "it must be text", "model")
    return models.find_model(models.full_model_name(given))


def _read_common(given: Mapping[str, Any], step: str | None, faults: list[ChainFault]) -> dict[str, Any]:
    """What a chain says for all its steps, or a step for itself."""
    found: dict[str, Any] = {}
    label = given.get("label")
    if isinstance(label, str) and 0 < len(label) <= LABEL_MOST:
        found["label"] = label
    elif label is not None:
        faults.append(ChainFault(step, f"label: it must be text of 1 to {LABEL_MOST} characters"))
    targets = given.get("targets", given.get("target"))
    targets = [targets] if isinstance(targets, str) else targets
    if isinstance(targets, list) and targets and all(isinstance(it, str) and it for it in targets):
        found["targets"] = tuple(targets)
    elif targets is not None:
        faults.append(ChainFault(step, "targets: it must be a list of targets' names"))
    for flag in _FLAGS:
        if isinstance(given.get(flag), bool):
            found[flag] = given[flag]
        elif flag in given and (step is not None or flag in _CHAIN_KEYS):
            faults.append(ChainFault(step, f"{flag}: it must be true or false"))
    return found


def _unknown_keys(given: Collection[str], known: Sequence[str]) -> Iterator[str]:
    for key in given:
        if key not in known:
            near = get_close_matches(key[:64].lower().replace("-", "_"), known, n=1)
            more = f" (did you mean {near[0]}?)" if near else f"; known are {', '.join(known)}"
            yield f"there is nothing called {key[:64]!a}{more}"


def _find_wrong_afters(steps: Sequence[ChainStep], names: Collection[str]) -> Iterator[ChainFault]:
    for step in steps:
        if step.after is not None and step.after not in names:
            near = get_close_matches(step.after[:64], names, n=1)
            more = f" (did you mean {near[0]}?)" if near else f"; the steps are {_join(names)}"
            yield ChainFault(step.name, f"after: there is no step {step.after[:64]!a}{more}")


def _order_steps(steps: Sequence[ChainStep]) -> list[ChainStep]:
    """The steps, each after the one that it goes on from; without those of a circle and what follows them. A step whose
    predecessor cannot be read is the first of its own."""
    there = {it.name for it in steps}
    ordered: list[ChainStep] = []
    waiting, done = list(steps), set[str]()
    while ready := [it for it in waiting if it.after is None or it.after in done or it.after not in there]:
        ordered += ready
        done |= {it.name for it in ready}
        waiting = [it for it in waiting if it.name not in done]
    return ordered


def _find_circles(steps: Sequence[ChainStep]) -> Iterator[ChainFault]:
    """A fault for each circle, with its steps in order."""
    after = {it.name: it.after for it in steps}
    seen: set[str] = set()
    for start in after:
        path: list[str] = []
        name: str | None = start
        while name is not None and name in after and name not in seen:
            seen.add(name)
            path.append(name)
            name = after[name]
        if name in path:
            circle = path[path.index(name) :]
            yield ChainFault(None, f"these steps wait for each other: {' → '.join([*circle, circle[0]])}")


def _find_all_names(steps: Sequence[ChainStep], label: str | None, faults: list[ChainFault]) -> dict[str, None]:
    """Every name in the texts of the steps, in order; texts that cannot be read are faults."""
    found: dict[str, None] = {}
    for step, value in [(it.name, it) for it in steps]:
        for key, text in (("params", value.params), ("label", value.label), ("from", value.source)):
            if key == "label" and text == label and value is not steps[0]:
                continue  # said once
            try:
                found |= dict.fromkeys(find_names(text))
            except WrongText as wrong:
                faults.append(ChainFault(step, f"{key}: {wrong}"))
        try:
            found |= dict.fromkeys(find_names(value.image_no))
        except WrongText as wrong:
            faults.append(ChainFault(step, f"image_no: {wrong}"))
    return found


def _join(names: Collection[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
