"""A rate limit for log lines, so that a flood of requests or faults cannot fill the disk.

Lines are of one kind if their logger, level and action are the same. Each kind may write `SHARE` characters in a span
of `SPAN_S`. Further lines are only counted. The count is logged after the span, before the next line of any kind or
when the log is closed.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from msgspec import Struct

SPAN_S = 60.0
SHARE = 128 * 1024  # characters of one kind's lines in a span: some 800 of them, or eight long tracebacks
KINDS_MOST = 256

_Kind = tuple[str, int, str | None]


class _FloodSpan(Struct):
    ends: float
    left: int = SHARE
    dropped: int = 0


class LogFlood:
    """Decides for each record whether it may be written. Not thread-safe; `now` is in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._spans: OrderedDict[_Kind, _FloodSpan] = OrderedDict()  # in the order in which they end

    def should_write(self, record: logging.LogRecord) -> bool:
        """Whether its kind has room left in this span. If not, the record is counted."""
        span = self._spans.get(_kind_of(record))
        if span is None or span.left > 0:
            return True
        span.dropped += 1
        return False

    def count_written(self, record: logging.LogRecord, size: int) -> logging.LogRecord | None:
        """Count a record of `size` characters. If it used up its kind's share, returns a record that says so."""
        kind = _kind_of(record)
        span = self._spans.get(kind)
        if span is None:
            span = self._spans[kind] = _FloodSpan(self._now() + SPAN_S)
        had = span.left
        span.left -= size
        if had <= 0 or span.left > 0:
            return None
        return _make_record(kind, "more lines like this are counted, and left out for up to %.0f s", SPAN_S)

    def pop_summaries(self, *, all_of_them: bool = False) -> Iterator[logging.LogRecord]:
        """Remove the spans that have ended, or all, and yield a record for each that dropped lines."""
        now = self._now()
        while self._spans:
            kind, span = next(iter(self._spans.items()))
            if span.ends > now and len(self._spans) <= KINDS_MOST and not all_of_them:
                return
            del self._spans[kind]
            if span.dropped:
                yield _make_record(kind, "%d more lines like this were left out", span.dropped, left_out=span.dropped)


def _kind_of(record: logging.LogRecord) -> _Kind:
    return record.name, record.levelno, getattr(record, "action", None)


def _make_record(kind: _Kind, text: str, *args: object, **extra: object) -> logging.LogRecord:
    name, level, action = kind
    record = logging.LogRecord(name, level, __file__, 0, text, args, None)
    record.__dict__ |= {"action": action or name, **extra}
    return record
