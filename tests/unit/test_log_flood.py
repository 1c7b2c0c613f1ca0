"""receiver.telemetry.log_flood: what repeats itself is bounded, counted and told; nothing else is lost."""

import io
import json
import logging
import tracemalloc

import pytest

from receiver.telemetry import logs
from receiver.telemetry.log_flood import KINDS_MOST, SHARE, SPAN_S, LogFlood


class Seconds:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


pytestmark = pytest.mark.usefixtures("logging_put_back")


def record(
    action: str | None = "callback.refuse", name: str = "web", level: int = logging.WARNING
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "", 0, "text", (), None)
    if action is not None:
        made.__dict__["action"] = action
    return made


def test_a_kind_that_has_had_its_share_is_counted_until_its_span_is_over() -> None:
    """The last one before the silence is followed by a line that says so; the next span begins anew."""
    seconds = Seconds()
    flood = LogFlood(seconds)
    assert flood.count_written(record(), SHARE - 1) is None
    assert flood.should_write(record())
    last = flood.count_written(record(), 100)
    assert last is not None
    assert "left out for up to 60 s" in last.getMessage()
    assert [flood.should_write(record()) for _ in range(3)] == [False] * 3
    assert list(flood.pop_summaries()) == []
    seconds.now += SPAN_S
    [said] = flood.pop_summaries()
    assert said.getMessage() == "3 more lines like this were left out"
    assert (said.__dict__["action"], said.__dict__["left_out"]) == ("callback.refuse", 3)
    assert (said.name, said.levelno) == ("web", logging.WARNING)
    assert flood.should_write(record())


@pytest.mark.parametrize(
    "other", [record("callback.store"), record(level=logging.ERROR), record(name="x"), record(None)]
)
def test_a_flood_of_one_kind_silences_no_other(other: logging.LogRecord) -> None:
    """A kind is a logger, a level and an action."""
    flood = LogFlood(Seconds())
    flood.count_written(record(), SHARE)
    assert not flood.should_write(record())
    assert flood.should_write(other)


def test_nothing_is_said_of_a_span_in_which_nothing_was_left_out() -> None:
    """Ordinary days add no lines."""
    seconds = Seconds()
    flood = LogFlood(seconds)
    flood.count_written(record(), 10)
    seconds.now += SPAN_S
    assert list(flood.pop_summaries(all_of_them=True)) == []


def test_kinds_without_number_take_bounded_memory() -> None:
    """Whoever made the kinds up; what was counted of a forgotten one is told."""
    flood = LogFlood(Seconds())
    flood.count_written(record("first"), SHARE)
    assert not flood.should_write(record("first"))
    told: list[logging.LogRecord] = []
    tracemalloc.start()
    try:
        for number in range(KINDS_MOST * 40):
            flood.count_written(record(f"kind-{number}"), 1)
            told += flood.pop_summaries()
            if number == KINDS_MOST:
                full, _ = tracemalloc.get_traced_memory()
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [it.__dict__["action"] for it in told] == ["first"]
    assert grown < 2 * full


def test_the_log_of_a_flood_stays_small_and_says_how_much_it_left_out() -> None:
    """Every line still parses; the count is there at the end of the process, too."""
    stream = io.StringIO()
    logs.setup_logging(stream, tty=False)
    for number in range(5_000):
        logging.getLogger("web").warning("refused %d", number, extra={"action": "callback.refuse"})
    logging.getLogger("web").warning("another", extra={"action": "other"})
    logs.setup_logging(io.StringIO(), tty=False)  # closes the first
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(stream.getvalue()) < SHARE * 1.1
    told = [line["left_out"] for line in lines if "left_out" in line]
    written = [line for line in lines if line["msg"].startswith("refused")]
    assert len(told) == 1
    assert len(written) + told[0] == 5_000
    assert "another" in [line["msg"] for line in lines]


def test_lines_without_a_ref_have_that_of_the_work_they_come_from() -> None:
    """Whoever logs them, in whatever depth; one that says whose it is has its own."""
    stream = io.StringIO()
    logs.setup_logging(stream, tty=False)
    logs.bind_ref("0199-ours")
    logging.getLogger("deep").warning("a")
    logging.getLogger("deep").warning("b", extra={"ref": "0199-other"})
    logs.bind_ref(None)
    logging.getLogger("deep").warning("c")
    assert [json.loads(line)["ref"] for line in stream.getvalue().splitlines()] == ["0199-ours", "0199-other", None]
