"""Logging, set up once by `serve`: short lines on a terminal, a JSON object a line elsewhere, and no secrets in either.

Every line carries `action` and `ref`, passed as `extra={"action": …, "ref": …}`; `bind_ref` sets the ref for a whole
asyncio task. Registered secrets, and whatever looks like one (callback tokens, bearer tokens, the user part of URLs),
become `•••` in messages, extras and tracebacks, whichever library wrote them. `log_flood` limits repeated lines.
"""

import base64
import contextlib
import json
import logging
import math
import re
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO
from urllib.parse import quote, quote_plus, unquote

from receiver.core.local_time import format_local
from receiver.telemetry.log_flood import LogFlood

MASK = "•••"
FIELD_MOST = 16_384  # characters of one field of a line
_EXTRAS_MOST = 20
# Their DEBUG and INFO lines print whole URLs, paths, SQL parameters or Apprise tokens.
_NOISY = ("aiosqlite", "apprise", "asyncio", "httpcore", "httpx", "PIL", "uvicorn", "uvicorn.access", "uvicorn.error")
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog(3)
_ORDINARY = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LOOKS_SECRET = re.compile(
    r"(?P<path>/callbacks/)(?![0-9]{1,19}(?![^\s/?#\"'<>]))[^\s/?#\"'<>]+"  # a number is a stored callback's id
    r"|(?P<ref>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.|%2E)[\w-]{16,}"
    r"|(?P<bearer>\bBearer\s+)[^\s\"',;]+"
    r"|(?P<scheme>://)[^\s/?#\"'<>]*@",
    re.IGNORECASE | re.ASCII,
)

_about: ContextVar[str | None] = ContextVar("about", default=None)


def bind_ref(ref: str | None) -> None:
    """Give every line that this asyncio task, and any that it starts, logs from now on the ref `ref`, unless a line has
    its own."""
    _about.set(ref)


class Redactor:
    """Hides the given secrets, however they are quoted, and whatever looks like one.

    For a secret URL (an Apprise target, a database) its password, tokens and topic are hidden by themselves too. Texts
    of less than four characters are not hidden: the log would become unreadable.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        parts = {part for secret in secrets for part in (secret, *_url_secrets(secret))}
        forms = {form for part in parts for form in _quoted_forms(part) if len(form) >= 4}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._any = re.compile(f"{self._known.pattern}|(?i:{_LOOKS_SECRET.pattern})", re.ASCII)

    def __repr__(self) -> str:
        return "Redactor()"

    def redact(self, text: str) -> str:
        """`text` with `•••` in place of every secret."""
        if not self._any.search(text):
            return text
        return _LOOKS_SECRET.sub(_hide_match, self._known.sub(MASK, text))


def _hide_match(match: re.Match[str]) -> str:
    if ref := match["ref"]:
        return f"{ref}.{MASK}"
    if scheme := match["scheme"]:
        return f"{scheme}{MASK}@"
    return f"{match['path'] or match['bearer']}{MASK}"


def _url_secrets(secret: str) -> Iterator[str]:
    """The parts of a URL that are secret by themselves: a service's error may quote just one of them."""
    _, scheme, rest = secret.partition("://")
    if not scheme:
        return
    if password := re.match(r"[^/?#]*?:([^/?#]+)@", rest):
        yield password[1]
    if user := re.match(r"([^/?#]+)@", rest):  # user and password as an HTTP header has them
        yield base64.b64encode(unquote(user[1]).encode()).decode().rstrip("=")
    topic = "" if "@" in rest else re.split("[/?:]", rest)[0]  # a URL without a host, as in ntfy://topic
    for part in re.split(r"[/?&;=#:@,]", rest):
        mixed = re.search("[0-9]", part) or (part != part.lower() and part != part.upper()) or len(part) >= 20
        if len(part) >= 8 and "." not in part and part != "localhost" and (mixed or part == topic):
            yield part


def _quoted_forms(secret: str) -> Iterator[str]:
    """A secret as it is, and as URLs, `repr` and JSON spell it."""
    plain = unquote(secret)
    yield from (secret, plain, quote(plain), quote(plain, safe=""), quote_plus(plain))
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])


class _LineFormatter(logging.Formatter):
    """Cleans a record's fields before they are quoted, since quoting could disguise a secret."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def _clean_field(self, value: object) -> str:
        text = self._redactor.redact(str(value))  # before it is cut: half a secret is not recognised
        text = text if len(text) <= FIELD_MOST else f"{text[:FIELD_MOST]}…"
        return text.encode("utf-8", "replace").decode()  # lone surrogates cannot be written

    def _message_text(self, record: logging.LogRecord) -> str:
        try:
            return self._clean_field(record.getMessage())
        except Exception:  # arguments that do not fit the format: better an odd line than none
            return self._clean_field(f"{record.msg!s} {record.args!r}")

    def _trace_text(self, record: logging.LogRecord) -> str | None:
        trace = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        pieces = [piece for piece in (trace, record.stack_info) if piece]
        return self._clean_field("\n".join(pieces)) if pieces else None

    def _action_name(self, record: logging.LogRecord) -> str:
        return self._clean_field(getattr(record, "action", None) or record.name)

    def _task_ref(self, record: logging.LogRecord) -> str | None:
        ref = getattr(record, "ref", None) or _about.get()
        return None if ref is None else self._clean_field(ref)


class HumanLine(_LineFormatter):
    """`12:03:04 +01:00 INFO settle 0199… text`, with control characters escaped, and any traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        clock = format_local(datetime.fromtimestamp(record.created, UTC), "%H:%M:%S")
        words = (clock, record.levelname, self._action_name(record), self._task_ref(record), self._message_text(record))
        line = _escape_controls(" ".join(word for word in words if word))
        trace = self._trace_text(record)
        return line if trace is None else "\n".join([line, *map(_escape_controls, trace.split("\n"))])


class JsonLine(_LineFormatter):
    """`{"ts", "level", "action", "ref", "msg", extras…, "trace"?}`; `ts` is RFC 3339, UTC, with milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "ts": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "action": self._action_name(record),
            "ref": self._task_ref(record),
            "msg": self._message_text(record),
        }
        extras = [key for key in record.__dict__ if key not in _ORDINARY and key not in line]
        line |= {self._clean_field(key): self._json_value(record.__dict__[key]) for key in extras[:_EXTRAS_MOST]}
        if trace := self._trace_text(record):
            line["trace"] = trace
        return json.dumps(line, ensure_ascii=False)

    def _json_value(self, value: object) -> object:
        plain = value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        return value if plain else self._clean_field(value)


class JournalLine(JsonLine):
    """The same with its priority in front, as in sd-daemon(3). The journal removes and records it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return f"<{priority}>{super().format(record)}"


def _escape_controls(line: str) -> str:
    """Escape control characters: foreign bytes must not start a new line or control the terminal."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), line)


class _LogHandler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._flood = LogFlood()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless its kind has used up its share. The handler's lock is held."""
        for late in self._flood.pop_summaries():
            super().emit(late)
        if self._flood.should_write(record):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        last = self._flood.count_written(record, len(text))
        return text if last is None else f"{text}{self.terminator}{super().format(last)}"

    def close(self) -> None:
        """Write the counts of dropped lines that are still due."""
        with self.lock or contextlib.nullcontext():
            for late in self._flood.pop_summaries(all_of_them=True):
                super().emit(late)
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Report a lost line on stderr, and never raise: no work may fail because of its log.

        The default would print the record with its secrets.
        """
        if sys.stderr:
            kind = getattr(sys.exc_info()[0], "__name__", "an error")
            with contextlib.suppress(OSError, ValueError):  # stderr may be the stream that failed
                print(f"receiver: lost a log line of {record.name}: {kind}", file=sys.stderr)  # noqa: T201 - no log to tell it


def setup_logging(
    stream: TextIO, *, tty: bool, journal: bool = False, level: int = logging.INFO, secrets: Iterable[str] = ()
) -> Redactor:
    """Send every log line of this process to `stream`. A second call replaces the first.

    `tty`: a person reads along; otherwise `journal`: systemd's journal does. `secrets` are all texts that must never be
    seen: keys, tokens, Apprise and database URLs. Returns the redactor, for texts that go elsewhere, such as the error
    of a send.
    """
    redactor = Redactor(secrets)
    output = _LogHandler(stream)
    output.setFormatter((HumanLine if tty else JournalLine if journal else JsonLine)(redactor))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _LogHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(output)
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in _NOISY:
        noisy = logging.getLogger(name)
        noisy.handlers.clear()  # uvicorn's own handlers do not redact
        noisy.propagate = True
        noisy.setLevel(max(level, logging.WARNING))
    return redactor
