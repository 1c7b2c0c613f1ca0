"""What is wrong with a parameter, as it is said of a row or a step. Pure."""

import re
from collections.abc import Mapping

_VALUE_MOST = 40  # characters of a wrong value that is shown


def explain_refusal(code: str, problem: str, field: str | None, remedy: str | None = None, value: object = None) -> str:
    """A refusal as a row's fault: `scale: 'eins' must be a number from 1.1 to 2.0 (004007005)`."""
    text = problem.replace(", sent as a JSON number", "")  # how it is sent does not matter in a file
    if field:
        text = text.removeprefix(f"{field} ")
        short = isinstance(value, str | int | float) and len(str(value)) <= _VALUE_MOST
        if short and text.startswith(("must be", "should be")):
            text = f"{f'{value:g}' if isinstance(value, float) else repr(value)} {text}"
    if code.isdigit():
        text = f"{text} ({code})"
    if field:
        text = f"{field}: {text}"
    return f"{text}; {remedy}" if remedy else text


def respell_names(fault: str, names: Mapping[str, str]) -> str:
    """A fault with the `names` that parameters have in the file instead of those on the wire. At its beginning any name
    is one; elsewhere only one that is no word: `type` may mean something else there."""
    for name, shown in names.items():
        if fault.startswith((f"{name}:", f"{name}.")):
            fault = shown + fault[len(name) :]
        if re.search("[A-Z_]", name) and shown != name:
            fault = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown.replace("\\", r"\\"), fault)
    return fault
