"""What a form says of a field that is wrong, and of a request that was refused. Pure."""

import re

from receiver.core.errors import RequestRefused
from receiver.core.sanitize import one_line
from receiver.providers.declarations import Model
from receiver.providers.parameters import UNLIKELY, ChoiceParam, IntegerParam, ModelParam, NumberParam, TextParam
from receiver.providers.vtrix.prompt_flags import count_repeats

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_BRACES = "{{a,b}} makes {} generations, and each is paid for. Take the braces out, or allow it below."
_REPEATS = "--repeat {0} makes {1} generations, and each is paid for. Take it out, or allow it below."
_UNLIKELY = "{} Midjourney’s own API refuses anything else. It may fail; to send it all the same, say so below."
_TEXT_MOST = 400


def describe_missing(field: ModelParam) -> str:
    """What is said of a field that has to be filled."""
    return "Choose one." if isinstance(field, ChoiceParam | IntegerParam) else f"{field.form_title} is missing."


def describe_fault(field: ModelParam, text: str, refused: RequestRefused) -> str:
    """What is said of a value that the field's parameter refused."""
    said = _describe_range(field, text) or _rename(refused, field)
    return _UNLIKELY.format(said) if refused.code == UNLIKELY else said


def describe_refusal(refused: RequestRefused, model: Model | None) -> tuple[str, str]:
    """The field of a form that a refused request is about, and what is said there; `""` is none in particular."""
    field = model.find_param(refused.field) if model is not None and refused.field is not None else None
    if field is None:
        return "", as_sentence(refused.problem, refused.remedy)
    if refused.code == UNLIKELY:
        return field.name, _UNLIKELY.format(_rename(refused, field, model))
    return field.name, _rename(refused, field, model)


def describe_multiplied(prompt: str) -> str:
    """What is said of a prompt that makes several generations."""
    count = count_generations(prompt)
    if count != 1:
        return _BRACES.format(_count_word(count) if count else "several")
    repeats = count_repeats(prompt)
    return _REPEATS.format(repeats, _count_word(repeats))


def count_generations(prompt: str) -> int:
    """How many generations the braces of a prompt make; 0 if they are nested or escaped, and nobody counts."""
    if re.search(r"\{[^{}]*\{", prompt) or "\\" in prompt:
        return 0
    count = 1
    for inside in re.findall(r"\{([^{}]*)\}", prompt):
        count = min(count * (inside.count(",") + 1), 10_000)
    return count


def curl(text: str) -> str:
    """The text with the apostrophes of print."""
    return re.sub(r"(?<=\w)'(?=\w)", "’", text)


def _describe_range(field: ModelParam, text: str) -> str:
    match field:
        case NumberParam() | IntegerParam():
            return f"{field.form_title} is {field.least} to {field.most}."
        case ChoiceParam():
            *names, last = [field.form_name(word) for word in field.form_words]
            return f"{field.form_title} is {', '.join(names)} or {last}."
        case TextParam() if len(text) > field.most:
            return f"{field.form_title} has {len(text):,} characters, and {field.most:,} are the most."
    return ""


def _rename(refused: RequestRefused, field: ModelParam, model: Model | None = None) -> str:
    """The refusal's own words, with the fields named as in the form."""
    fields = model.fields if model is not None else (field,)
    problem = refused.problem
    if refused.code == UNLIKELY:
        problem = problem.partition(": Midjourney's own API")[0]
    for it in fields:
        problem = re.sub(rf"(?<![\w-]){re.escape(it.name)}(?![\w-])", it.form_title, problem)
    return as_sentence(problem)


def as_sentence(problem: str, remedy: str | None = None) -> str:
    """The words of a refusal or a tip, as pages write them."""
    text = curl(one_line(problem if remedy is None else f"{problem}; {remedy}", _TEXT_MOST))
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?', '…')) else '.'}"


def _count_word(count: int) -> str:
    return _WORDS[count] if count < len(_WORDS) else f"{count:,}"
