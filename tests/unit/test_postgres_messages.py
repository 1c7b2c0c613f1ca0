"""How the tests' proxy reads PostgreSQL's protocol: byte by byte it finds the same messages as in one piece."""

import pytest

from kit.postgres_messages import Message, MessageStream


def typed(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + (len(body) + 4).to_bytes(4) + body


def untyped(number: int, body: bytes = b"") -> bytes:
    return (len(body) + 8).to_bytes(4) + number.to_bytes(4) + body


START = untyped(196608, b"user\0receiver\0\0")
TLS, GSS, CANCEL = untyped(80877103), untyped(80877104), untyped(80877102, b"12345678")
QUERY, EMPTY = typed("Q", b"COMMIT\0"), typed("S")


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ([START, QUERY, EMPTY], ["start", "Q", "S"]),
        ([TLS, GSS, START, QUERY], ["tls?", "gss?", "start", "Q"]),
        ([CANCEL], ["cancel"]),
    ],
    ids=["plain", "asks for encryption", "cancels"],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_what_a_client_says(said: list[bytes], kinds: list[str], step: int) -> None:
    stream, whole = MessageStream(client=True), b"".join(said)
    found = [it for start in range(0, len(whole), step) for it in stream.feed(whole[start : start + step])]
    assert found == [Message(kind, data) for kind, data in zip(kinds, said, strict=True)]
    assert stream.rest() == b""


def test_what_a_server_says() -> None:
    stream = MessageStream(client=False)
    stream.expect_yes_or_no()
    notice = typed("N", b"text\0")
    assert stream.feed(b"N" + notice + typed("Z", b"I")[:-1]) == [Message("no", b"N"), Message("N", notice)]
    assert stream.rest() == typed("Z", b"I")[:-1]
    assert stream.feed(b"I") == [Message("Z", typed("Z", b"I"))]


def test_nothing_is_read_into_what_is_encrypted() -> None:
    stream = MessageStream(client=False)
    stream.expect_yes_or_no()
    assert stream.feed(b"S") == [Message("yes", b"S")]
    stream.be_raw()
    assert stream.feed(b"\x16\x03") == [Message("raw", b"\x16\x03")]
