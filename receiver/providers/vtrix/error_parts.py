"""Finds the error in a body: under `error`, beside it, or in a message. Never raises."""

from receiver.core.types import TaskError
from receiver.providers import json_values
from receiver.providers.json_values import Json

CODE_KEYS = ("code", "error_code", "error_type")
MESSAGE_KEYS = ("error_message", "message", "raw_message", "detail", "msg", "reason")
REASON_KEYS = (
    "message",
    "detail",
    "status",
    "msg",
    "failReason",
    "fail_reason",
    "failMsg",
    "reason",
    "task_status_msg",
    "comment",
)
NO_REASON = "the provider gave no reason"
_PROVIDER_CODE = ("ProviderErrorCode",)  # the code of the service behind the provider, beside `error`


def error_field(level: Json) -> TaskError | None:
    """The error in the keys `error` and `provider_error`, texts or objects. Code 0, or neither code nor message, is no
    error."""
    said = _one_error(level, level.get("error"))
    behind = _one_error(level, level.get("provider_error"))
    if said is None or said.code is not None:
        return said or behind
    code = json_values.parse_code(json_values.first_value((level,), _PROVIDER_CODE)) or (behind and behind.code)
    return TaskError(code, said.message, said.raw) if code else said


def reason_elsewhere(level: Json) -> TaskError | None:
    """The error elsewhere in a level, if `error` says nothing: the first of the message keys."""
    for key in ("error", *REASON_KEYS):
        value = level.get(key)
        if key == "status" and not isinstance(value, dict):
            continue
        if message := _message_text(value):
            found_code = _code_value((value, level) if isinstance(value, dict) else (level,))
            code = (
                None
                if json_values.is_zero_code(found_code) or json_values.parse_int(found_code) == 200
                else json_values.parse_code(found_code)
            )
            return _make_error(code, message, {it: level[it] for it in ("code", key) if it in level})
    return None


def _one_error(level: Json, value: object) -> TaskError | None:
    if not value:
        return None
    found_code = _code_value((value,)) if isinstance(value, dict) else None
    code, message = json_values.parse_code(found_code), _message_text(value)
    if (code is None and not message) or json_values.is_zero_code(found_code):
        return None
    return _make_error(code or json_values.parse_code(json_values.first_value((level,), CODE_KEYS[1:])), message, value)


def _code_value(levels: tuple[Json, ...]) -> object:
    """The first code; an `error_code` goes before a `code` that is only the number of an HTTP status."""
    for level in levels:
        code = json_values.first_value((level,), CODE_KEYS)
        number = int(code) if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3 else code
        if isinstance(number, int) and 100 <= number <= 599:
            code = json_values.first_value((level,), CODE_KEYS[1:]) or code
        if code is not None:
            return code
    return None


def _make_error(code: str | None, message: str | None, raw: object) -> TaskError:
    return TaskError(code, json_values.mask_tokens(message or NO_REASON), json_values.bounded_raw(raw))


def _message_text(value: object) -> str | None:
    if isinstance(value, list) and value and not isinstance(value[0], list):
        return _message_text(value[0])
    if isinstance(value, dict):
        texts = (value.get(key) for key in MESSAGE_KEYS)
        value = next((text for text in texts if isinstance(text, str) and text.strip()), None)
    return (json_values.clean_text(value.strip(), json_values.MESSAGE_MOST) or None) if isinstance(value, str) else None
