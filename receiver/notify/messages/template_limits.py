"""What a template may take of its caller's time and memory: rounds, counted over a whole writing, and sizes.

Knows nothing of Jinja2: its loops, calls, filters and operators are led through here.
"""

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import wraps
from typing import Any

_ROUNDS_MOST = 10_000
"""Rounds of all the loops of a writing together; a call, a filter and what is written each count as one at least."""
_VALUE_MOST = 100_000
"""Characters or items of a value that a template makes."""
DIGITS_MOST = 64
"""Digits of what whole numbers make."""
_PER_ROUND = 100
"""Characters or items that a call, a filter or what is written takes, for each further round that it counts as."""

_left: ContextVar[int] = ContextVar("rounds that a writing has left")


class TemplateError(Exception):
    """A template cannot be used; the text is a line that says why."""


def begin() -> None:
    """Count anew: another writing begins, in this thread or task alone."""
    _left.set(_ROUNDS_MOST)


def counted(items: Iterable[Any]) -> Iterator[Any]:
    """The items of a loop, each of which is a round. Raises Failed."""
    for item in items:
        _take(1)
        yield item


def weighed(value: Any) -> Any:
    """`value` itself, if it is not too large; a step of work. Raises Failed."""
    spend(value)
    return measured(value)


def bounded(filtered: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts as a step of work, with what it takes and makes."""

    @wraps(filtered)  # also what Jinja2 notes there of its first argument
    def within(*args: Any, **named: Any) -> Any:
        spend(*args, *named.values())
        return measured(filtered(*args, **named))

    return within


def spend(*values: Any) -> None:
    """Count a step of work that takes `values`. Raises Failed where they, or their product, are too much."""
    weights = [_weight(value) for value in values]
    product = 1
    for weight in weights:  # what `replace` can make of its three
        product *= weight + 1
    if product > _VALUE_MOST * 100:
        raise TemplateError(f"it makes a value of more than {_VALUE_MOST} characters or items")
    _take(1 + sum(weights) // _PER_ROUND)


def _take(rounds: int) -> None:
    left = _left.get() - rounds
    if left < 0:
        raise TemplateError(f"it takes more than {_ROUNDS_MOST} rounds")
    _left.set(left)


def measured(value: Any) -> Any:
    """`value` itself, if it is not too long. Raises Failed."""
    if isinstance(value, str | list | tuple) and len(value) > _VALUE_MOST:
        raise TemplateError(f"it makes a value of more than {_VALUE_MOST} characters or items")
    return value


def _weight(value: Any) -> int:
    """How many characters there are in a string, or items, however deep, in what holds some; strings among those count
    a hundredth, as most that is done with a list does not read them. Raises Failed at more than `_VALUE_MOST`."""
    if isinstance(value, str):
        return len(value)
    total, ahead = 0, [value]
    while ahead:
        it = ahead.pop()
        if isinstance(it, str):
            total += len(it) // _PER_ROUND
        elif isinstance(it, range):
            total += len(it)
        elif isinstance(it, list | tuple | dict):
            total += len(it)
            if total <= _VALUE_MOST:
                ahead.extend(it.values() if isinstance(it, dict) else it)
        if total > _VALUE_MOST:
            raise TemplateError(f"it makes a value of more than {_VALUE_MOST} characters or items")
    return total
