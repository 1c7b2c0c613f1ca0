"""The vocabulary in which models are declared: fields with their ranges and the provider's own code for each fault.

A field reads one value and gives it back in canonical form, or raises `Refused` (422) with the provider's code,
`invalid_parameter` where it has none. What a model allows is said in declarations; nothing here knows any model.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from receiver.core.errors import RequestRefused

INVALID = "invalid_parameter"  # our code for a fault that the provider documents none for
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_TASK_ID = re.compile("[0-9a-z]{20}")  # the provider's ids, e.g. d758n65e878c73cmdg20; job ids are longer


class ModelParam(Struct, frozen=True, kw_only=True):
    """One parameter: its name on the wire, whether it must be there, and the provider's codes for its faults."""

    name: str
    required: bool = False
    missing_code: str | None = None
    invalid_code: str | None = None

    def parse_value(self, value: object) -> object:
        """The value in canonical form; raises `Refused` if it is not allowed."""
        raise NotImplementedError

    def is_absent(self, value: object) -> bool:
        """Whether a value that was sent counts as not sent: null does."""
        return value is None

    def missing_error(self) -> RequestRefused:
        """The refusal for a required field that was not sent."""
        return RequestRefused(422, self.missing_code or INVALID, f"{self.name} is missing; it is required", self.name)

    def invalid_error(self, expected: str) -> RequestRefused:
        """The refusal for a value that is not `expected`."""
        return RequestRefused(422, self.invalid_code or INVALID, f"{self.name} must be {expected}", self.name)


class TextParam(ModelParam, frozen=True, kw_only=True):
    """Text of `least` to `most` characters (code points), without NUL and lone surrogates, which no store can keep."""

    least: int = 1
    most: int
    prompt: bool = False  # the words that a person typed, in which braces may multiply the bill
    job_id: bool = False  # an upstream job's id, which people mistake for the task's

    def is_absent(self, value: object) -> bool:
        """A required text that is blank was not sent, in the provider's terms as well."""
        return value is None or (self.required and isinstance(value, str) and not value.strip())

    def parse_value(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.invalid_error("text")
        if not self.least <= len(value) <= self.most:
            raise self.invalid_error(f"{self.least} to {self.most} characters long, not {len(value)}")
        if _UNSTORABLE.search(value):
            raise self.invalid_error("text without NUL characters and lone surrogates")
        return value

    def find_hint(self, value: object) -> str | None:
        """What is odd about a value that is allowed, if anything."""
        if self.job_id and isinstance(value, str) and _TASK_ID.fullmatch(value):
            return f"{self.name} looks like a task id; edits take the jobId found in the earlier task's output"
        return None


class IntegerParam(ModelParam, frozen=True, kw_only=True):
    """An integer from `least` to `most`, sent as a JSON integer: not 1.0, not "1", not true."""

    least: int
    most: int

    def parse_value(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise self.invalid_error(f"a whole number from {self.least} to {self.most}, sent as a JSON integer")
        return value


class NumberParam(ModelParam, frozen=True, kw_only=True):
    """A number from `least` to `most`, sent as a JSON number; 2 and 2.0 are the same."""

    least: float
    most: float

    def parse_value(self, value: object) -> float:
        # NaN compares false with everything, and infinity is out of every range.
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise self.invalid_error(f"a number from {self.least} to {self.most}, sent as a JSON number")
        return float(value)


class UrlParam(ModelParam, frozen=True, kw_only=True):
    """An absolute http or https URL of up to `most` characters."""

    most: int = 2048

    def parse_value(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > self.most or not _is_http(value):
            raise self.invalid_error(f"an absolute http or https URL of at most {self.most} characters")
        return value


class Model(Struct, frozen=True, kw_only=True):
    """What one of the provider's models takes, and the codes with which its tasks fail."""

    name: str
    fields: tuple[ModelParam, ...]
    callback: UrlParam  # apart from the fields: it is never a person's to set
    failed_code: str
    unavailable_code: str

    def parse_params(self, params: Mapping[str, object]) -> dict[str, object]:
        """The declared fields of `params` in declared order and canonical form; other keys are not looked at.

        Raises `Refused` for the first fault: what is missing before what is invalid, each in declared order.
        """
        given = [field for field in self.fields if not field.is_absent(params.get(field.name))]
        for field in self.fields:
            if field.required and field not in given:
                raise field.missing_error()
        return {field.name: field.parse_value(params[field.name]) for field in given}


def has_permutations(prompt: str) -> bool:
    """Whether `prompt` has permutation braces, `{a,b}`: the provider makes, and bills, a generation of each.

    Braces may nest; an escaped comma counts too, since being wrong on this side costs nothing.
    """
    commas: list[bool] = []  # of each open brace: was there a comma in it?
    for character in prompt:
        if character == "{":
            commas.append(False)
        elif character == "," and commas:
            commas[-1] = True
        elif character == "}" and commas and commas.pop():
            return True
    return False


def _is_http(text: str) -> bool:
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False
