"""The tasks of a chain, once it is known what the names in its file stand for; or everything that is wrong with them.
Pure."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from receiver.cli.batch.columns import fold_name
from receiver.cli.submit.chain_checks import (
    AddText,
    KnownStep,
    check_step,
    check_total,
    explain_unknown_param,
)
from receiver.cli.submit.chain_file import ChainFault, ChainFile, ChainStep
from receiver.cli.submit.chain_values import WrongText, find_names, is_blank, replace_names
from receiver.cli.submit.option_texts import spellings
from receiver.cli.submit.picture_numbers import parse_numbers
from receiver.client.schemas import LABEL_MOST, NewTask, WaitFor


class ChainTasks(Struct, frozen=True):
    """The tasks of a chain by step, how many tasks each step becomes, and sentences about what may be a mistake."""

    tasks: tuple[NewTask, ...]
    counts: dict[str, int]  # by step
    hints: tuple[str, ...] = ()

    @property
    def model_counts(self) -> dict[str, int]:
        """How many tasks of each model there will be."""
        found: dict[str, int] = {}
        for task in self.tasks:
            found[task.model] = found.get(task.model, 0) + self.counts[task.name or ""]
        return found


def fill_chain(chain: ChainFile, values: Mapping[str, Any]) -> tuple[ChainTasks, list[ChainFault]]:
    """The tasks of the chain with these values, and what is wrong with them."""
    faults, hints = list[ChainFault](), list[str]()
    tasks: list[NewTask] = []
    known: dict[str, KnownStep] = {}
    said = set[str]()
    for step in chain.steps:
        wrong, doubts = list[str](), list[str]()
        params = _fill_params(step, values, wrong.append)
        readable = not wrong
        task = _fill_step(step, params, values, wrong.append)
        numbered = not any(it.startswith("image_no: ") for it in wrong)
        parent = known.get(step.after or "")
        known[step.name] = check_step(
            task,
            parent,
            wrong.append,
            doubts.append,
            readable=readable,
            numbered=numbered,
            names=_names_used(step),
        )
        faults += [ChainFault(step.name, it) for it in wrong if _is_news(it, said)]
        hints += [f"step {step.name}: {it}" for it in doubts]
        tasks.append(task)
    if (problem := check_total(sum(it.count for it in known.values()))) is not None:
        faults.append(ChainFault(None, problem))
    return ChainTasks(tuple(tasks), {name: it.count for name, it in known.items()}, tuple(hints)), faults


def _is_news(fault: str, said: set[str]) -> bool:
    """Whether no step before this one said the same of a name that both use."""
    about = fault.partition(": ")[2]
    if not about.startswith("${"):
        return True
    is_new = about not in said
    said.add(about)
    return is_new


def _fill_step(step: ChainStep, params: dict[str, Any], values: Mapping[str, Any], add_fault: AddText) -> NewTask:
    """The step's task, without what cannot be read."""
    source = _fill_text("from", step.source, values, add_fault)
    label = _fill_text("label", step.label, values, add_fault)
    if label is not None and len(label) > LABEL_MOST:
        add_fault(f"label: it is longer than {LABEL_MOST} characters")
    wait_for = None
    if step.after is not None or step.source is not None:
        name = step.after if step.source is None else None
        wait_for = WaitFor(ref=source, name=name, image_no=_fill_numbers(step, values, add_fault))
    elif step.image_no is not None:
        add_fault("image_no: this step goes on from no other one; say which with after")
    return NewTask(
        model=step.model.name,
        params=params,
        label=label or None,
        targets=step.targets,
        poll_only=step.poll_only,
        allow_permutations=step.allow_permutations,
        anyway=step.anyway,
        wait_for=wait_for,
        name=step.name,
        ping=step.ping,
    )


def _fill_params(step: ChainStep, values: Mapping[str, Any], add_fault: AddText) -> dict[str, Any]:
    names, found = spellings(step.model), dict[str, Any]()
    for key, value in step.params.items():
        param = names.get(fold_name(key))
        if param is None and not step.model.is_open:
            fed = step.model.feed if step.after or step.source else None
            given = fed.names if fed is not None else ()
            spelt = {folded: it.file_name for folded, it in names.items() if it.name not in given}
            add_fault(f"params: {explain_unknown_param(step.model, key, spelt)}")
            continue
        name = param.name if param is not None else key
        try:
            filled = replace_names(value, values)
            if is_blank(filled) and param is not None and param.required:
                _refuse_empty(value)
            if isinstance(filled, str) and param is not None:
                filled = param.read_text(filled.strip()) if filled.strip() else None
        except (WrongText, ValueError) as wrong:
            add_fault(f"{key}: {wrong}")
            continue
        if name in found:
            add_fault(f"{key}: it is given twice")
        if filled is not None:
            found[name] = filled
    return found


def _names_used(step: ChainStep) -> dict[str, str]:
    """What the parameters of the model are called here, by their names on the wire."""
    known = spellings(step.model)
    used = {param.name: key for key in step.params if (param := known.get(fold_name(key))) is not None}
    return {it.name: it.file_name for it in step.model.fields} | used


def _refuse_empty(value: Any) -> None:
    """Raises WrongText if a name is all that stands in the value of a parameter that is required."""
    if (name := next(find_names(value), None)) is not None:
        raise WrongText(f"${{{name}}} is empty")


def _fill_text(key: str, text: str | None, values: Mapping[str, Any], add_fault: AddText) -> str | None:
    if text is None:
        return None
    try:
        filled = replace_names(text, values)
    except WrongText as wrong:
        add_fault(f"{key}: {wrong}")
        return None
    if key == "from" and not (filled and str(filled).strip()):
        add_fault("from: it is empty")
    return None if filled is None else str(filled).strip()


def _fill_numbers(step: ChainStep, values: Mapping[str, Any], add_fault: AddText) -> Any:
    try:
        return parse_numbers(replace_names(step.image_no, values))
    except (WrongText, ValueError) as wrong:
        add_fault(f"image_no: {wrong}")
        return 0  # so that nothing more is said of it
