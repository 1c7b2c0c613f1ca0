"""The types that declare models: parameters with their ranges and the provider's own code for each fault.

A parameter returns a value in canonical form, or raises `RequestRefused` (422) with the provider's code, or
`invalid_parameter` if there is none. The models themselves are declared elsewhere (`vtrix/midjourney`).
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from receiver.core.errors import RequestRefused

INVALID = "invalid_parameter"  # our code for a fault without a code of the provider's
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_WITHOUT_NUL = "^[^\\u0000]*$"
_NOT_BLANK = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"  # what Python calls blank, in every dialect
_TASK_ID = re.compile("[0-9a-z]{20}")  # the provider's task ids, e.g. d758n65e878c73cmdg20; job ids are longer


class ModelParam(Struct, frozen=True, kw_only=True):
    """One parameter: its name on the wire, whether it is required, and the provider's codes for its faults."""

    name: str
    required: bool = False
    missing_code: str | None = None
    invalid_code: str | None = None

    def parse_value(self, value: object) -> object:
        """The value in canonical form. Raises `RequestRefused` if it is not allowed."""
        raise NotImplementedError

    def describe_value(self) -> dict[str, object]:
        """What `parse_value` takes, as JSON Schema."""
        raise NotImplementedError

    def is_absent(self, value: object) -> bool:
        """Whether a value counts as not sent. Null does."""
        return value is None

    def missing_error(self) -> RequestRefused:
        """The refusal for a required field that was not sent."""
        return RequestRefused(422, self.missing_code or INVALID, f"{self.name} is missing", self.name)

    def invalid_error(self, expected: str) -> RequestRefused:
        """The refusal for a value that is not `expected`."""
        return RequestRefused(422, self.invalid_code or INVALID, f"{self.name} must be {expected}", self.name)


class TextParam(ModelParam, frozen=True, kw_only=True):
    """Text of `least` to `most` code points, without NUL and lone surrogates, which a database cannot store."""

    least: int = 1
    most: int
    prompt: bool = False  # a person typed it, and braces in it may multiply the bill
    job_id: bool = False  # an upstream job's id, which people confuse with the task's

    def is_absent(self, value: object) -> bool:
        """A required text that is blank counts as not sent, as it does for the provider."""
        return value is None or (self.required and isinstance(value, str) and not value.strip())

    def describe_value(self) -> dict[str, object]:
        described = {"type": "string", "minLength": self.least, "maxLength": self.most}
        return described | {"pattern": _NOT_BLANK if self.required else _WITHOUT_NUL}

    def parse_value(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.invalid_error("text")
        if not self.least <= len(value) <= self.most:
            raise self.invalid_error(f"{self.least} to {self.most} characters long, not {len(value)}")
        if _UNSTORABLE.search(value):
            raise self.invalid_error("text without NUL characters and lone surrogates")
        return value

    def find_hint(self, value: object) -> str | None:
        """A sentence about a value that is allowed but looks wrong, if it does."""
        if self.job_id and isinstance(value, str) and _TASK_ID.fullmatch(value):
            return f"{self.name} looks like a task id; use the jobId in the earlier task's output instead"
        return None


class IntegerParam(ModelParam, frozen=True, kw_only=True):
    """An integer from `least` to `most`, sent as a JSON number: not "1", not true. 1.0 is 1, as JSON Schema has it."""

    least: int
    most: int

    def describe_value(self) -> dict[str, object]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def parse_value(self, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise self.invalid_error(f"a whole number from {self.least} to {self.most}, sent as a JSON number")
        return value


class NumberParam(ModelParam, frozen=True, kw_only=True):
    """A number from `least` to `most`, sent as a JSON number; 2 and 2.0 are the same."""

    least: float
    most: float

    def describe_value(self) -> dict[str, object]:
        return {"type": "number", "minimum": self.least, "maximum": self.most}

    def parse_value(self, value: object) -> float:
        # NaN compares as false, and infinity is out of every range.
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise self.invalid_error(f"a number from {self.least} to {self.most}, sent as a JSON number")
        return float(value)


class UrlParam(ModelParam, frozen=True, kw_only=True):
    """An absolute http or https URL of up to `most` characters."""

    most: int = 2048

    def describe_value(self) -> dict[str, object]:
        return {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": self.most}

    def parse_value(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > self.most or not _is_http(value):
            raise self.invalid_error(f"an absolute http or https URL of at most {self.most} characters")
        return value


class Model(Struct, frozen=True, kw_only=True):
    """One of the provider's models: its parameters, and the codes with which its tasks fail."""

    name: str
    fields: tuple[ModelParam, ...]
    callback: UrlParam  # not one of the fields: only we set it
    failed_code: str
    unavailable_code: str

    def describe_params(self) -> dict[str, object]:
        """What `parse_params` takes, as JSON Schema. Null is as good as absent."""
        return {
            "type": "object",
            "properties": {
                field.name: field.describe_value()
                if field.required
                else {"anyOf": [field.describe_value(), {"type": "null"}]}
                for field in self.fields
            },
            "required": [field.name for field in self.fields if field.required],
            "additionalProperties": False,
        }

    def parse_params(self, params: Mapping[str, object]) -> dict[str, object]:
        """The declared fields of `params` in declared order and canonical form. Other keys are ignored.

        Raises `RequestRefused` for the first fault: missing fields before invalid ones, each in declared order.
        """
        given = [field for field in self.fields if not field.is_absent(params.get(field.name))]
        for field in self.fields:
            if field.required and field not in given:
                raise field.missing_error()
        return {field.name: field.parse_value(params[field.name]) for field in given}


def has_permutations(prompt: str) -> bool:
    """Whether `prompt` has permutation braces, `{a,b}`: the provider makes, and bills, one generation for each.

    Braces may nest. An escaped comma counts too: to be wrong in this direction costs nothing.
    """
    commas: list[bool] = []  # for each open brace: whether there was a comma in it
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
    except ValueError:  # an invalid port or IPv6 address
        return False
