"""receiver.providers.echoes: our own key, in whatever a provider says, is taken out before anybody reads it."""

import gzip
import json
from collections.abc import Callable
from urllib.parse import quote

import msgspec
import pytest

from receiver.core.types import Ending, Image, Outcome, OutcomeShape, TaskError
from receiver.providers.echoes import EchoRedactor
from receiver.providers.vtrix.bodies import parse_body

KEY = 'sk-A/b+"c\\9'
PLAIN = "sk-0123456789"


def failed(message: str) -> dict[str, object]:
    return {"id": "t1", "object": "task", "status": "failed", "error": {"code": "401", "message": message}}


def slashes(text: bytes) -> bytes:
    return text.replace(b"/", b"\\/")


def escaped(text: bytes) -> bytes:
    """Each character of the key as its code, as some write what is not a letter."""
    spelled = "".join(f"\\u{ord(char):04X}" for char in PLAIN)
    return text.replace(PLAIN.encode(), spelled.encode())


@pytest.mark.parametrize("key", [KEY, PLAIN])
@pytest.mark.parametrize(
    "spell",
    [
        lambda body: json.dumps(body).encode(),
        lambda body: slashes(json.dumps(body).encode()),
        lambda body: escaped(json.dumps(body).encode()),
        lambda body: json.dumps([body]).encode(),
        lambda body: json.dumps({"payload": json.dumps(body)}).encode(),
        lambda body: f"data={quote(json.dumps(body))}".encode(),
        lambda body: gzip.compress(json.dumps(body).encode()),
        lambda body: json.dumps(body).encode("utf-16"),
    ],
)
def test_no_spelling_of_a_body_brings_the_key_into_an_outcome(
    spell: Callable[[dict[str, object]], bytes], key: str
) -> None:
    outcome = EchoRedactor(key).wrap_parser(parse_body)(spell(failed(f"bad key {key}, sorry")))
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.message == "bad key [redacted], sorry"
    shown = msgspec.json.encode(outcome) + (outcome.error.raw or b"")
    assert key.encode() not in shown
    assert json.dumps(key)[1:-1].encode() not in shown


def test_every_text_of_an_outcome_is_cleaned_and_nothing_else_changes() -> None:
    def outcome(word: str) -> Outcome:
        return Outcome(
            Ending.FAILED,
            OutcomeShape.OTHER,
            f"status {word}",
            task_id=f"id {word}",
            job_id=f"job {word}",
            model=f"model {word}",
            created_at=7,
            progress=0.5,
            images=(
                Image(1, f"https://pics/{word}.png", f"type {word}", f"job {word}"),
                Image(2, "https://pics/2.png"),
            ),
            error=TaskError(f"code {word}", f"message {word}", f'{{"raw": "{word}"}}'.encode()),
            doubt=f"doubt {word}",
            unknown_status=True,
        )

    assert EchoRedactor(PLAIN).redact_outcome(outcome(PLAIN)) == outcome("[redacted]")
    raw_alone = Outcome(Ending.FAILED, OutcomeShape.OTHER, "", error=TaskError(None, "m", PLAIN.encode()))
    cleaned = EchoRedactor(PLAIN).redact_outcome(raw_alone)
    assert cleaned.error == TaskError(None, "m", b"[redacted]")


def test_an_outcome_without_the_key_is_the_same_object() -> None:
    said = Outcome(Ending.RUNNING, OutcomeShape.TASK, "running", error=TaskError(None, "m"))
    assert EchoRedactor(PLAIN).redact_outcome(said) is said


def test_a_key_of_digits_alone_spoils_no_number() -> None:
    body = b'{"id": "t1", "object": "task", "status": "failed", "created_at": 1767000000, "error": {"message": "no"}}'
    outcome = EchoRedactor("1767000000").wrap_parser(lambda _: parse_body(body))(body)
    assert outcome == parse_body(body)


def test_what_is_no_outcome_stays_none_and_without_a_key_nothing_is_done() -> None:
    assert EchoRedactor(PLAIN).wrap_parser(parse_body)(b"nonsense") is None
    for none in ("", "seven77"):
        assert EchoRedactor(none).wrap_parser(parse_body) is parse_body
        assert EchoRedactor(none).redact(b"seven77 \\ %") == b"seven77 \\ %"
    assert EchoRedactor("eight888").redact(b"an eight888 in it") == b"an [redacted] in it"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"plain text", b"plain text"),
        (f"the key {PLAIN}.".encode(), b"the key [redacted]."),
        (b"\xff" + PLAIN.encode(), b"\xff[redacted]"),
        (gzip.compress(f"packed {PLAIN}".encode(), mtime=0), b"packed [redacted]"),
        (gzip.compress(b"packed", mtime=0), gzip.compress(b"packed", mtime=0)),
        (f"wide {PLAIN}".encode("utf-16-le"), b"wide [redacted]"),
        (f"wide {PLAIN}".encode("utf-32-be"), b"wide [redacted]"),
        ("wide".encode("utf-16-le"), "wide".encode("utf-16-le")),
        (b"", b""),
    ],
)
def test_a_body_is_shown_without_the_key_and_else_as_it_came(body: bytes, shown: bytes) -> None:
    assert EchoRedactor(PLAIN).redact_shown(body) == shown


def test_the_key_is_not_in_the_repr() -> None:
    assert PLAIN not in repr(EchoRedactor(PLAIN))
