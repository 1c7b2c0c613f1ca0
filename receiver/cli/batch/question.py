"""A question to the person at the terminal, if there is one."""

import sys

import click


def ask_person(question: str, *, reads_input: bool) -> bool | None:
    """The answer; None if nobody can give one. `reads_input`: standard input is something else."""
    if reads_input or sys.stdin is None or not sys.stdin.isatty() or not sys.stderr or not sys.stderr.isatty():
        return None
    return click.confirm(question, err=True)
