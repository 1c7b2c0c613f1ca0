"""receiver.telemetry.logs: one line a record, with action and ref, and no secret in any of its corners."""

import io
import json
import logging
import re
import threading
import warnings

import pytest

from receiver.telemetry.logs import FIELD_MOST, MASK, Redactor, setup_logging
from receiver.tokens import Ring, new_ref

SENTINEL = "s3ntinel-Never/Shown+01\"23'456\\789"
APPRISE = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#pings?footer=no"
REF = "01990a3c-7b1e-7c4d-9a5b-0123456789ab"


pytestmark = pytest.mark.usefixtures("logging_put_back")


def json_lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def started(*secrets: str, tty: bool = False, level: int = logging.INFO) -> io.StringIO:
    stream = io.StringIO()
    setup_logging(stream, tty=tty, level=level, secrets=secrets)
    return stream


def test_away_from_a_terminal_a_line_is_one_json_object() -> None:
    stream = started()
    extra = {"action": "settle", "ref": REF, "polls": 2, "ratio": float("nan"), "who": "a\nb", "none": None}
    logging.getLogger("any").warning("two\nlines of %s", "text", extra=extra)
    (line,) = json_lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("ts")))
    assert line == {
        "level": "warning",
        "msg": "two\nlines of text",
        **(extra | {"ratio": "nan"}),
    }


def test_a_line_without_action_has_its_loggers_name() -> None:
    stream = started()
    logging.getLogger("any.thing").info("x")
    assert [(line["action"], line["ref"]) for line in json_lines(stream)] == [("any.thing", None)]


def test_on_a_terminal_a_line_is_short_and_cannot_be_forged() -> None:
    """Other people's text must not start lines of its own, nor speak to the terminal."""
    stream = started(tty=True)
    logging.info("bad\r\n00:00:00 INFO fake \x1b[2J", extra={"action": "ingest", "ref": REF})
    (line,) = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d (UTC|[+-]\d\d:\d\d) INFO ingest " + REF + r" bad\\r\\n00:00:00 INFO fake \\x1b\[2J", line
    )


@pytest.mark.parametrize("tty", [True, False])
def test_a_secret_is_hidden_in_messages_arguments_extras_and_tracebacks(tty: bool) -> None:
    logging.getLogger().handlers.clear()  # pytest's own, which raise at arguments that do not fit
    stream = started(SENTINEL, tty=tty)
    try:
        try:
            raise ValueError(SENTINEL)
        except ValueError as error:
            raise RuntimeError(f"after {SENTINEL!r}") from error
    except RuntimeError:
        logging.exception(
            "in the text %s, quoted %r", SENTINEL, [SENTINEL], extra={"x": SENTINEL, "y": {"k": SENTINEL}}
        )
    logging.info(f"in the format {SENTINEL}", stack_info=True)
    logging.info("a %d that does not fit", SENTINEL)
    text = stream.getvalue()
    assert "Never" not in text
    assert "RuntimeError: after" in text
    assert text.count(MASK) >= 6


@pytest.mark.parametrize(
    "given",
    [
        SENTINEL,
        json.dumps({"key": SENTINEL}),
        repr(SENTINEL),
        "https://h/?k=s3ntinel-Never%2FShown%2B01%2223%27456%5C789",
    ],
)
def test_a_secret_is_known_however_it_is_quoted(given: str) -> None:
    assert "Never" not in Redactor([SENTINEL]).redact(given)


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (APPRISE, f"sent to {APPRISE}: error=500"),
        (APPRISE, "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"),
        ("mailtos://me:T1p%40ss@mail.test", "535 login failed with T1p@ss"),
        ("tgram://123456789:T1T1T1-abcdef/-100", "bot123456789:T1T1T1-abcdef"),
        ("ntfy://T1-topicname", "no such topic T1-topicname"),
        ("postgresql://receiver:T1/T1@db.test/receiver", "postgresql://receiver:T1/T1@db.test/receiver"),
    ],
)
def test_the_telling_parts_of_a_secret_url_are_hidden_alone_too(secret: str, text: str) -> None:
    cleaned = Redactor([secret]).redact(text)
    assert MASK in cleaned
    assert not re.search("T1|A1|TI", cleaned)


def test_the_harmless_parts_of_a_secret_url_stay_readable() -> None:
    redactor = Redactor([APPRISE, "postgresql://receiver:secret-1@database.test/receiver", "json://localhost"])
    text = "receiver started; hooks.slack.com said pings to database.test and localhost"
    assert redactor.redact(text) == text


def test_a_callback_token_is_hidden_and_its_ref_stays() -> None:
    token = Ring(["k" * 16]).token(new_ref(1, b"0123456789"))
    ref, mac = token.split(".")
    redactor = Redactor()
    assert redactor.redact(f"POST /callbacks/{token} 200") == f"POST /callbacks/{MASK} 200"
    assert redactor.redact(f"POST /callbacks/{token}/?x=1") == f"POST /callbacks/{MASK}/?x=1"
    assert redactor.redact("/callbacks/not-ours") == f"/callbacks/{MASK}"
    assert redactor.redact(f"token {token}.") == f"token {ref}.{MASK}."
    assert mac not in redactor.redact(f"https%3A%2F%2Fh%2Fcallbacks%2F{ref}%2E{mac}")


def test_the_id_of_a_stored_callback_is_no_token() -> None:
    assert Redactor().redact("GET /api/v1/callbacks/17/replay") == "GET /api/v1/callbacks/17/replay"
    assert Redactor().redact("GET /callbacks/17x") == f"GET /callbacks/{MASK}"


def test_bearer_tokens_and_the_user_part_of_urls_are_hidden_though_nobody_told() -> None:
    redactor = Redactor()
    assert redactor.redact("authorization: bearer abc.def, next") == f"authorization: bearer {MASK}, next"
    assert redactor.redact("to https://me:pa:ss@host/p@th") == f"to https://{MASK}@host/p@th"
    assert redactor.redact("https://host/p@th and a@b.test") == "https://host/p@th and a@b.test"


def test_what_holds_no_secret_is_handed_back_as_it_is() -> None:
    text = f"task {REF} settled in 12 s"
    assert Redactor([SENTINEL, "", "abc"]).redact(text) is text


def test_a_secret_is_hidden_before_a_long_text_is_cut() -> None:
    stream = started("T1" * 20)
    logging.info("x" * (FIELD_MOST - 5) + "T1" * 20 + "y" * FIELD_MOST)
    (line,) = json_lines(stream)
    assert "T1" not in str(line["msg"])
    assert len(str(line["msg"])) == FIELD_MOST + 1


def test_a_line_that_cannot_be_written_is_reported_without_its_content(capsys: pytest.CaptureFixture[str]) -> None:
    """The standard library prints the record as it is to standard error: message, arguments, secrets and all."""
    stream = started()
    stream.close()
    logging.getLogger("some.where").info("text %s", SENTINEL)
    assert capsys.readouterr().err == "receiver: lost a log line of some.where: ValueError\n"


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
    ],
)
def test_the_journal_is_told_how_much_a_line_matters(level: int, priority: int) -> None:
    """In front of the line, where it takes it off again; `journalctl -p warning` would else find none of ours."""
    stream = io.StringIO()
    setup_logging(stream, tty=False, journal=True, level=logging.DEBUG)
    logging.log(level, "two\nlines")
    front, _, line = stream.getvalue().partition(">")
    assert front == f"<{priority}"
    assert json.loads(line)["msg"] == "two\nlines"
    assert line.count("\n") == 1


def test_text_that_is_no_unicode_is_written_all_the_same() -> None:
    stream = started()
    logging.info("half \ud800 pair")
    assert [line["msg"] for line in json_lines(stream)] == ["half ? pair"]


@pytest.mark.parametrize("name", ["httpx", "httpcore.connection", "aiosqlite", "apprise", "uvicorn.access"])
def test_libraries_that_print_urls_are_quiet_below_warning_even_when_debugging(name: str) -> None:
    stream = started(level=logging.DEBUG)
    logging.getLogger(name).info("GET https://host/path")
    logging.getLogger(name).warning("trouble")
    assert [line["msg"] for line in json_lines(stream)] == ["trouble"]


def test_a_librarys_own_output_is_taken_away() -> None:
    """uvicorn brings handlers that know nothing of redaction."""
    own = io.StringIO()
    logger = logging.getLogger("uvicorn")
    logger.addHandler(logging.StreamHandler(own))
    stream = started(SENTINEL)
    logger.error(SENTINEL)
    assert own.getvalue() == ""
    assert [line["msg"] for line in json_lines(stream)] == [MASK]


def test_setting_up_again_replaces_and_does_not_double() -> None:
    first = started()
    second = started()
    logging.info("once")
    assert first.getvalue() == ""
    assert len(json_lines(second)) == 1


def test_records_from_threads_stay_one_to_a_line() -> None:
    stream = started(SENTINEL)
    threads = [threading.Thread(target=logging.info, args=("%s", SENTINEL)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["msg"] for line in json_lines(stream)] == [MASK] * 8


def test_warnings_become_lines() -> None:
    stream = started(SENTINEL)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(f"old {SENTINEL}", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = json_lines(stream)
    assert line["action"] == "py.warnings"
    assert f"old {MASK}" in str(line["msg"])


def test_the_redactor_shows_nothing_of_what_it_knows() -> None:
    assert SENTINEL[:8] not in repr(Redactor([SENTINEL]))


def test_no_work_fails_for_want_of_a_log() -> None:
    """A log on a pipe that nobody reads, or on a full disk: the line is lost, and nothing else."""

    class Broken:
        tried = 0

        def write(self, text: str) -> int:
            self.tried += 1
            raise BrokenPipeError

        flush = write

    broken = Broken()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", broken)
        setup_logging(broken, tty=False)  # type: ignore[arg-type]  # as much of a stream as is needed
        try:
            logging.getLogger("receiver.tests").error("nobody reads this")
            assert broken.tried
        finally:
            root = logging.getLogger()
            root.removeHandler(root.handlers[-1])
