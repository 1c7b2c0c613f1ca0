"""The kinds of parameters that models take, each with its range and the provider's own codes for its faults.

A parameter returns a value in canonical form, or raises `RequestRefused` (422) with the provider's code, or
`invalid_parameter` if there is none. A range that only the upstream states is no certain refusal of the provider's: its
code is `unlikely`, and whoever asks for it `anyway` gets the value sent as it is. A model is declared with these kinds
(`declarations`, `vtrix/midjourney`).
"""

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from receiver.core.errors import RequestRefused

INVALID = "invalid_parameter"  # our code for a fault without a code of the provider's
UNLIKELY = "unlikely"  # our code for what the provider probably refuses, though its own pages do not say so
INTEGER_MOST = 2**53 - 1  # of a number without a known range: what every JSON parser keeps exactly
NUMBER_MOST = 1e15
CHOICE_MOST = 999
_ANYWAY = "to send it all the same, submit it `anyway`"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_WITHOUT_NUL = "^[^\\u0000]*$"
_NOT_BLANK = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"  # what Python calls blank, in every dialect
_TASK_ID = re.compile("[0-9a-z]{20}")  # the provider's task ids, e.g. d758n65e878c73cmdg20; job ids are longer
_PLACEHOLDER = re.compile(r"(midjourney_)?provider_(job|task)_id|midjourney_draft_mode_job_id")  # from samples
_STAND_IN = re.compile(  # what people leave in when they copy a command, without - and _ and in lower case
    r"[<\[{(].*|\$.*|(my|your|the|a|some|an|another|parent|upstream|provider|real)*jobid[0-9]{0,3}|x{2,}|[.…?]+|todo|none"
)


class Documented(Enum):
    """Who states a parameter's range."""

    PROVIDER = "provider"
    UPSTREAM = "upstream"  # only Midjourney's own API, which the provider serves
    NOBODY = "nobody"


class ModelParam(Struct, frozen=True, kw_only=True):
    """One parameter: its name on the wire, whether it is required, and the provider's codes for its faults.

    `option` is its name on the command line, with dashes; by default made of `name`. `help` says what it is, and
    `title` is what a form calls it, by default as on the command line.
    """

    name: str
    required: bool = False
    missing_code: str | None = None
    invalid_code: str | None = None
    documented: Documented = Documented.PROVIDER
    option: str = ""
    help: str = ""
    title: str = ""

    def parse_value(self, value: object, *, anyway: bool = False) -> object:
        """The value in canonical form. Raises `RequestRefused` if it is not allowed.

        `anyway`: what is only `unlikely` is allowed.
        """
        raise NotImplementedError

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        """What `parse_value` takes, as JSON Schema."""
        raise NotImplementedError

    def is_unlimited(self, *, anyway: bool) -> bool:
        """Whether a value beyond the declared range is taken, as far as it is sane."""
        return self.documented is Documented.NOBODY or (anyway and self.documented is Documented.UPSTREAM)

    def find_word(self, value: object) -> str | None:
        """The word that stands for a value, if there is one."""
        return None

    def read_text(self, text: str) -> object:
        """What a person wrote for it, in a file or on the command line, as the kind of value that it takes; as it is if
        it is no such value. Raises ValueError, with a sentence, if it is nearly right."""
        return text

    @property
    def option_name(self) -> str:
        """Its name on the command line, without the two dashes."""
        return self.option or re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", self.name).lower().replace("_", "-")

    @property
    def form_title(self) -> str:
        """What a form calls it: `Job id`."""
        return self.title or self.option_name.replace("-", " ").capitalize()

    @property
    def file_name(self) -> str:
        """Its name in the files of people: as on the wire, unless its option is called otherwise."""
        return self.option.replace("-", "_") or self.name

    @property
    def metavar(self) -> str:
        """What stands for its value in a help text."""
        return "TEXT"

    def is_absent(self, value: object) -> bool:
        """Whether a value counts as not sent. Null does."""
        return value is None

    def missing_error(self) -> RequestRefused:
        """The refusal for a required field that was not sent."""
        return RequestRefused(422, self.missing_code or INVALID, f"{self.name} is missing", self.name)

    def invalid_error(self, expected: str) -> RequestRefused:
        """The refusal for a value that is not `expected`."""
        return RequestRefused(422, self.invalid_code or INVALID, f"{self.name} must be {expected}", self.name)

    def out_of_range(self, expected: str, *, sane: bool, anyway: bool) -> None:
        """Refuse a value of the right type that is not `expected`, unless that is uncertain and wanted `anyway`.

        A value that is not `sane` is refused in any case.
        """
        if self.documented is Documented.PROVIDER or not sane:
            raise self.invalid_error(expected)
        if not anyway and self.documented is Documented.UPSTREAM:
            raise unlikely(f"{self.name} should be {expected}", self.name)


class TextParam(ModelParam, frozen=True, kw_only=True):
    """Text of `least` to `most` code points, without NUL and lone surrogates, which a database cannot store."""

    least: int = 1
    most: int
    prompt: bool = False  # a person typed it, and braces in it may multiply the bill
    job_id: bool = False  # an upstream job's id, which people confuse with the task's

    def is_absent(self, value: object) -> bool:
        """A required text that is blank counts as not sent, as it does for the provider."""
        return value is None or (self.required and isinstance(value, str) and not value.strip())

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        described = {"type": "string", "minLength": self.least, "maxLength": self.most}
        return described | {"pattern": _NOT_BLANK if self.required else _WITHOUT_NUL}

    def parse_value(self, value: object, *, anyway: bool = False) -> str:
        if not isinstance(value, str):
            raise self.invalid_error("text")
        if not self.least <= len(value) <= self.most:
            raise self.invalid_error(f"{self.least} to {self.most} characters long, not {len(value)}")
        if _UNSTORABLE.search(value):
            raise self.invalid_error("text without NUL characters and lone surrogates")
        if self.job_id and _PLACEHOLDER.fullmatch(value.strip().lower()):
            raise self.invalid_error("the jobId of an earlier task's output, and this is the placeholder of a sample")
        return value

    def find_hint(self, value: object) -> str | None:
        """A sentence about a value that is allowed but looks wrong, if it does."""
        if not self.job_id or not isinstance(value, str):
            return None
        if _TASK_ID.fullmatch(value):
            return f"{self.name} looks like a task id; use the jobId in the earlier task's output instead"
        if is_http_url(value.strip()):
            return f"{self.name} is an address; use the jobId in the earlier task's output instead"
        if _STAND_IN.fullmatch(re.sub(r"[-_\s]", "", value[:256]).lower()):
            shown = ascii(value.strip()[:40])
            return f"{self.name} is {shown}, which stands for one in an example; use the jobId in a task's output"
        return None


class IntegerParam(ModelParam, frozen=True, kw_only=True):
    """An integer from `least` to `most`, sent as a JSON number: not "1", not true. 1.0 is 1, as JSON Schema has it."""

    least: int
    most: int

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        if self.is_unlimited(anyway=anyway):
            return {"type": "integer", "minimum": -INTEGER_MOST, "maximum": INTEGER_MOST}
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read_text(self, text: str) -> object:
        number = read_number(text)
        return int(number) if isinstance(number, float) and number.is_integer() else number

    @property
    def metavar(self) -> str:
        return "N"

    def parse_value(self, value: object, *, anyway: bool = False) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        expected = f"a whole number from {self.least} to {self.most}, sent as a JSON number"
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.invalid_error(expected)
        if not self.least <= value <= self.most:
            self.out_of_range(expected, sane=abs(value) <= INTEGER_MOST, anyway=anyway)
        return value


class NumberParam(ModelParam, frozen=True, kw_only=True):
    """A number from `least` to `most`, sent as a JSON number; 2 and 2.0 are the same."""

    least: float
    most: float

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        if self.is_unlimited(anyway=anyway):
            return {"type": "number", "exclusiveMinimum": -NUMBER_MOST, "exclusiveMaximum": NUMBER_MOST}
        return {"type": "number", "minimum": self.least, "maximum": self.most}

    def read_text(self, text: str) -> object:
        return read_number(text)

    @property
    def metavar(self) -> str:
        return "N"

    def parse_value(self, value: object, *, anyway: bool = False) -> float:
        expected = f"a number from {self.least} to {self.most}, sent as a JSON number"
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.invalid_error(expected)
        # NaN compares as false, and infinity is out of every range.
        if not self.least <= value <= self.most:
            self.out_of_range(expected, sane=-NUMBER_MOST < value < NUMBER_MOST, anyway=anyway)
        return float(value)


class UrlParam(ModelParam, frozen=True, kw_only=True):
    """An absolute http or https URL of up to `most` characters."""

    most: int = 2048

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        return {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": self.most}

    @property
    def metavar(self) -> str:
        return "URL"

    def parse_value(self, value: object, *, anyway: bool = False) -> str:
        if not isinstance(value, str) or len(value) > self.most or not is_http_url(value):
            raise self.invalid_error(f"an absolute http or https URL of at most {self.most} characters")
        return value


class ChoiceParam(ModelParam, frozen=True, kw_only=True):
    """One of several numbers, each of which has a word: people say the word, the provider gets the number.

    Both are taken, so two models may number the same words differently and nobody has to know. `aliases` are other
    words for some of them; `names` are what a form calls them, by default the words themselves, and `form_order` is the
    order that they have there, by default the declared one.
    """

    words: Mapping[str, int]
    aliases: Mapping[str, str] = MappingProxyType({})
    names: Mapping[str, str] = MappingProxyType({})
    form_order: tuple[str, ...] = ()

    @property
    def form_words(self) -> tuple[str, ...]:
        """The words in the order of a form."""
        return self.form_order or tuple(self.words)

    def form_name(self, word: str) -> str:
        """What a form calls a word: `Strong`, `2 ×`."""
        return self.names.get(word) or word.capitalize()

    def find_word(self, value: object) -> str | None:
        if isinstance(value, bool):
            return None
        return next((word for word, number in self.words.items() if number == value), None)

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        if self.is_unlimited(anyway=anyway):
            any_number = {"type": "integer", "minimum": 0, "maximum": CHOICE_MOST}
            return {"anyOf": [{"enum": [*self.words, *self.aliases]}, any_number]}
        return {"enum": [*self.words, *self.aliases, *self.words.values()]}

    def read_text(self, text: str) -> object:
        return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else text.strip().lower()

    @property
    def metavar(self) -> str:
        return "|".join(self.words)

    def parse_value(self, value: object, *, anyway: bool = False) -> int:
        if isinstance(value, str):
            word = value.lower().replace("-", "_")
            if (word := self.aliases.get(word, word)) in self.words:
                return self.words[word]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        expected = " or ".join(f"{word} ({number})" for word, number in self.words.items())
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.invalid_error(expected)
        if value not in self.words.values():
            self.out_of_range(expected, sane=0 <= value <= CHOICE_MOST, anyway=anyway)
        return value


def unlikely(problem: str, field: str | None) -> RequestRefused:
    """The refusal of what the provider probably refuses, though nothing that it publishes says so."""
    return RequestRefused(
        422,
        UNLIKELY,
        f"{problem}: Midjourney's own API requires that, and the provider's pages do not say",
        field,
        remedy=_ANYWAY,
    )


def read_number(text: str) -> object:
    """A number as a person writes it; the text as it is if it is none. Raises ValueError for a decimal comma."""
    if re.fullmatch(r"[-+]?[0-9]{1,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,3})?", text):
        return float(text)
    if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text):
        raise ValueError(f"{text} has a decimal comma; use a point: {text.replace(',', '.')}")
    return text


def read_json_or_text(text: str) -> Any:
    """`1.5`, `true` and `{"a": 1}` as JSON has them; any other text as it is."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


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


def is_http_url(text: str) -> bool:
    """Whether it is an absolute http or https URL."""
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return False
