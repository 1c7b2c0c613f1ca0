"""A chain as text for a terminal: a tree with a line for each task. Pure."""

from collections.abc import Iterator

from receiver.cli.money_text import show_usd
from receiver.cli.output import format_rows, safe_line
from receiver.client.chain_schemas import ChainStep, ChainView
from receiver.core.types import HoldReason, TaskState
from receiver.providers.models import short_model_name

_BRANCH, _LAST, _TRUNK, _GAP = "├ ", "└ ", "│ ", "  "
_HELD = {HoldReason.PARENT.value: "held", HoldReason.PICK.value: "pick one"}


def format_chain(chain: ChainView, here: str) -> str:
    """The tree, with the task `here` marked, and what the rest of it may cost."""
    rows = [row for step in chain.steps for row in _step_rows(step, here, "", "")]
    return format_rows(rows)


def describe_rest(chain: ChainView) -> str:
    """What the chain cost so far, and what is still to come; empty if nothing is known of either."""
    parts = [f"{show_usd(chain.cost)} so far"] if chain.cost else []
    parts += [f"about {show_usd(chain.estimate, about=True)} to come"] if chain.estimate else []
    return ", ".join(parts)


def find_step(chain: ChainView, ref: str) -> ChainStep | None:
    """A task of the chain."""
    return next((step for step in _walk(chain.steps) if step.ref == ref), None)


def goes_on_by_itself(chain: ChainView | None, ref: str) -> bool:
    """Whether tasks go on from this one, and no person picks for any of them."""
    found = None if chain is None else find_step(chain, ref)
    children = [] if found is None else found.children
    return bool(children) and all(it.image_no is not None and it.picked_by is None for it in children)


def count_cancelled(chain: ChainView | None, ref: str) -> int:
    """How many tasks below this one were cancelled."""
    top = None if chain is None else find_step(chain, ref)
    return sum(it.state == TaskState.CANCELLED for it in _walk(top.children)) if top is not None else 0


def name_step(step: ChainStep) -> str:
    """What a task of a chain is called: its step, else its label, else the end of its ref."""
    return safe_line(step.step or step.label) or step.ref[-12:]


def _walk(steps: list[ChainStep]) -> Iterator[ChainStep]:
    for step in steps:
        yield step
        yield from _walk(step.children)


def _step_rows(step: ChainStep, here: str, before: str, below: str) -> Iterator[tuple[str, ...]]:
    """The step's row, then those of its children; `before` draws its own branch, `below` those of its children."""
    yield (
        f"{before}{name_step(step)}",
        _state_text(step),
        safe_line(short_model_name(step.model or "")),
        "" if step.image_no is None else f"picture {step.image_no}",
        _money_text(step),
        "this one" if step.ref == here else step.ref[-12:],
    )
    for place, child in enumerate(step.children):
        last = place == len(step.children) - 1
        yield from _step_rows(child, here, below + (_LAST if last else _BRANCH), below + (_GAP if last else _TRUNK))


def _state_text(step: ChainStep) -> str:
    if step.held_by in _HELD:
        return _HELD[step.held_by]
    doubt = "?" if (step.unsure and step.state == TaskState.WAITING) or not step.confirmed else ""
    share = f" {step.progress:.0%}" if step.progress and step.state == TaskState.WAITING else ""
    return f"{safe_line(step.state)}{doubt}{share}"


def _money_text(step: ChainStep) -> str:
    if step.cost:
        return show_usd(step.cost)
    return f"about {show_usd(step.estimate, about=True)}" if step.estimate else ""
