"""The corpus of bad input: bodies and requests that strangers may send, each with the answer that it deserves.

`$PATH` in a request is a callback URL's path, a fresh one for each case. A case with a `task_id` is about a task that
the provider knows by that id. `statuses` are those of all answers until the connection ends, `verdict` the last one's.
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from kit.provider_bodies import TASK, URL

MAX_BODY = 1024 * 1024
MEGABYTE = 1_000_000


class Case(Struct, frozen=True):
    """What is sent, and what is to come of it."""

    name: str
    sent: bytes
    statuses: tuple[int, ...] = (200,)
    verdict: str | None = None
    task_id: str | None = None
    half: bool = False  # the sender ends its side afterwards

    @property
    def unfinished(self) -> bool:
        """Whether the service waits for more, until its patience ends."""
        return self.statuses in ((), (408,)) and not self.half


def post(body: bytes, *headers: bytes, close: bool = True) -> bytes:
    """A whole POST of `body`."""
    lines = (b"Host: receiver", b"Content-Length: %d" % len(body), *headers, *([b"Connection: close"] if close else []))
    return raw(b"POST $PATH HTTP/1.1", *lines) + body


def raw(*lines: bytes) -> bytes:
    """A head of these lines and no others."""
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def ended(**changes: Any) -> bytes:
    """A task object that is over, with changes."""
    return json.dumps({**TASK, **changes}).encode()


# Bodies that are no honest task object. The tasks of these have no id yet, so that nothing is more than a hint.
_LOOSE = b'{"status":"completed","output":[{"content":[{"url":"https://cdn.example/0.png"}]}],"x":%s}'
_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "unparsed"),
    "one NUL": (b"\0", "unparsed"),
    "spaces": (b" " * 1000, "unparsed"),
    "every byte": (bytes(range(256)), "unparsed"),
    "invalid UTF-8 in a text": (_LOOSE % b'"\xff\xfe\xc0\x80"', "hint"),
    "overlong UTF-8": (_LOOSE % b'"\xe0\x80\xaf"', "hint"),
    "half a surrogate pair": (_LOOSE % rb'"\ud800"', "hint"),
    "an escaped NUL": (_LOOSE % rb'"\u0000"', "hint"),
    "an escaped NUL as status": (rb'{"status":"\u0000"}', "hint"),
    "a bare newline in a text": (_LOOSE % b'"\n"', "hint"),
    "cut in the middle of a character": (b'{"status":"\xc3', "unparsed"),
    "cut in the middle of an escape": (b'{"status":"\\u00', "unparsed"),
    "a UTF-8 byte order mark": (b"\xef\xbb\xbf" + _LOOSE % b"1", "hint"),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + _LOOSE % b"1", "hint"),
    "UTF-16": ((_LOOSE % b"1").decode().encode("utf-16"), "hint"),
    "UTF-32": ((_LOOSE % b"1").decode().encode("utf-32"), "hint"),
    "NaN": (_LOOSE % b"NaN", "hint"),
    "Infinity": (_LOOSE % b"-Infinity", "hint"),
    "1e999": (_LOOSE % b"1e999", "hint"),
    "1e-999": (_LOOSE % b"1e-999", "hint"),
    "a number of 4,000 digits": (_LOOSE % (b"7" * 4_000), "hint"),
    "a number of 100,000 digits": (_LOOSE % (b"7" * 100_000), "unparsed"),
    "an exponent of 10,000 digits": (_LOOSE % (b"1e" + b"9" * 10_000), "hint"),
    "100,000 nested arrays": (b"[" * 100_000 + b"]" * 100_000, "unparsed"),
    "100,000 nested arrays in a task": (_LOOSE % (b"[" * 100_000 + b"]" * 100_000), "unparsed"),
    "100,000 nested objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "unparsed"),
    "900 nested arrays in a task": (_LOOSE % (b"[" * 900 + b"]" * 900), "hint"),
    "arrays that are never closed": (b"[" * MEGABYTE, "unparsed"),
    "a megabyte of text in a task": (_LOOSE % (b'"' + b"x" * MEGABYTE + b'"'), "hint"),
    "a megabyte of status": (b'{"status":"' + b"x" * MEGABYTE + b'"}', "hint"),
    "a megabyte of message": (b'{"status":"failed","message":"' + b"x" * MEGABYTE + b'"}', "hint"),
    "a megabyte of id": (b'{"id":"' + b"x" * MEGABYTE + b'","status":"completed","model":"m"}', "hint"),
    "a megabyte of URL": (b'{"status":"completed","urls":["https://' + b"x" * MEGABYTE + b'"]}', "hint"),
    "a megabyte as key": (b'{"' + b"x" * MEGABYTE + b'":1}', "unparsed"),
    "60,000 keys": (json.dumps({f"k{number}": number for number in range(60_000)}).encode(), "unparsed"),
    "30,000 pictures": (json.dumps({"status": "completed", "urls": [URL] * 30_000}).encode(), "hint"),
    "a key twice": (b'{"status":"failed","status":"completed","urls":["https://a.example/"]}', "hint"),
    "an array": (b"[1]", "unparsed"),
    "a text": (b'"completed"', "unparsed"),
    "a number": (b"1", "unparsed"),
    "null": (b"null", "unparsed"),
    "two objects": (b"{}{}", "unparsed"),
    "a comment": (b"/* {} */", "unparsed"),
    "XML": (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "unparsed"),
    "a form": (b"status=completed&id=1", "unparsed"),
    "SQL": (b'{"status":"completed\'); DROP TABLE tasks; --","id":"\' OR 1=1"}', "hint"),
    "a prototype": (b'{"__proto__":{"status":"completed"},"__class__":1}', "unparsed"),
    "a pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.", "unparsed"),
    "as large as may be": (b"x" * MAX_BODY, "unparsed"),
}

# Wrong types in each field of a task object that is otherwise believed. What is not needed to know the task and its
# pictures changes nothing; without those it is a hint.
_ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "-1": -1,
    "1e308": 1e308,
    "2⁷⁰": 2**70,
    "an empty text": "",
    "a NUL": "\0",
    "an empty list": [],
    "an empty object": {},
    "lists in lists": [[[[]]]],
    "an object in a list": [{"url": {"url": []}}],
}
_FIELDS = {
    "id": "hint",
    "status": "hint",
    "model": "accepted",
    "created_at": "accepted",
    "progress": "accepted",
    "output": "hint",
    "usage": "accepted",
    "error": "accepted",
    "metadata": "accepted",
}
_DEEP: dict[str, tuple[dict[str, Any], str]] = {
    "content": ({"output": [{"content": 7}]}, "hint"),
    "content of nulls": ({"output": [{"content": [None, [], 7, True]}]}, "hint"),
    "url a list": ({"output": [{"content": [{"url": [URL]}]}]}, "accepted"),
    "url javascript": ({"output": [{"content": [{"url": "javascript:alert(1)"}]}]}, "hint"),
    "url file": ({"output": [{"content": [{"url": "file:///etc/passwd"}]}]}, "hint"),
    "url with a newline": ({"output": [{"content": [{"url": "https://a.example/\r\nX: y"}]}]}, "accepted"),
    "type and job of a picture": ({"output": [{"content": [{"url": URL, "type": [], "jobId": {}}]}]}, "accepted"),
    "cost and discount": ({"usage": {"cost": [], "discount": "NaN"}}, "accepted"),
    "cost of many digits": ({"usage": {"cost": "9" * 10_000}}, "accepted"),
    "job of the metadata": ({"metadata": {"jobId": [{}]}}, "accepted"),
    "code and message of the error": ({"status": "failed", "error": {"code": [], "message": {}}}, "accepted"),
    "code beyond 64 bits": ({"status": "failed", "error": {"code": 2**200, "message": "\ud800"}}, "accepted"),
    "progress as text": ({"progress": "9" * 10_000 + "%"}, "accepted"),
    "progress with exponent": ({"progress": "1e999"}, "accepted"),
}


def bodies() -> Iterator[Case]:
    """Every hostile body, sent as it should be."""
    for name, (body, verdict) in _BODIES.items():
        yield Case(f"body: {name}", post(body), verdict=verdict)
    for field, verdict in _FIELDS.items():
        for odd, value in _ODD.items():
            name, task_id = f"{field}: {odd}", f"odd-{field}-{list(_ODD).index(odd)}"
            body = ended(**{"id": task_id, field: value})
            yield Case(name, post(body), verdict=verdict, task_id=task_id)
    for name, (changes, verdict) in _DEEP.items():
        task_id = f"deep-{list(_DEEP).index(name)}"
        yield Case(f"deep: {name}", post(ended(id=task_id, **changes)), verdict=verdict, task_id=task_id)


_HOST = b"Host: receiver"
_CLOSE = b"Connection: close"
_POST = b"POST $PATH HTTP/1.1"
_CHUNKED = b"Transfer-Encoding: chunked"
BOMB = gzip.compress(bytes(32 * MEGABYTE))
_UPGRADE = (b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")


def _get(target: bytes, *headers: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return raw(method + b" " + target + b" " + version, _HOST, _CLOSE, *headers)


_LENGTHS = [
    Case(
        "length: shorter than the body",
        raw(_POST, _HOST, b"Content-Length: 2") + b'{"status":1}',
        (200, 400),
        "unparsed",
    ),
    Case("length: longer than the body", raw(_POST, _HOST, b"Content-Length: 100") + b"{}", (408,)),
    Case("length: longer, and the sender ends", raw(_POST, _HOST, b"Content-Length: 100") + b"{}", (), half=True),
    Case("length: negative", raw(_POST, _HOST, b"Content-Length: -1") + b"{}", (400,)),
    Case("length: with a plus", raw(_POST, _HOST, b"Content-Length: +2") + b"{}", (400,)),
    Case("length: hexadecimal", raw(_POST, _HOST, b"Content-Length: 0x2") + b"{}", (400,)),
    Case("length: empty", raw(_POST, _HOST, b"Content-Length:") + b"{}", (400,)),
    Case("length: a list", raw(_POST, _HOST, b"Content-Length: 2, 2") + b"{}", (400,)),
    Case("length: two different", raw(_POST, _HOST, b"Content-Length: 2", b"Content-Length: 20") + b"{}", (400,)),
    Case("length: twice the same", raw(_POST, _HOST, b"Content-Length: 2", b"Content-Length: 2") + b"{}", (400,)),
    Case("length: beyond 64 bits", raw(_POST, _HOST, b"Content-Length: " + b"9" * 30) + b"{}", (400,)),
    Case("length: 2⁶³", raw(_POST, _HOST, b"Content-Length: %d" % 2**63) + b"{}", (413,)),
    Case("length: one too many", raw(_POST, _HOST, b"Content-Length: %d" % (MAX_BODY + 1)) + b"{}", (413,)),
    Case("length: none", raw(_POST, _HOST, _CLOSE), (200,), "unparsed"),
    Case("length: and chunked", raw(_POST, _HOST, b"Content-Length: 2", _CHUNKED) + b"0\r\n\r\n", (400,)),
    Case("length: chunked, and it", raw(_POST, _HOST, _CHUNKED, b"Content-Length: 2") + b"0\r\n\r\n", (400,)),
]
_CHUNKS = [
    Case("chunk: no hexadecimal size", raw(_POST, _HOST, _CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n", (400,)),
    Case("chunk: negative", raw(_POST, _HOST, _CHUNKED) + b"-2\r\n{}\r\n0\r\n\r\n", (400,)),
    Case("chunk: beyond 64 bits", raw(_POST, _HOST, _CHUNKED) + b"f" * 17 + b"\r\n{}", (400,)),
    Case("chunk: 2⁶⁴ − 1 promised", raw(_POST, _HOST, _CHUNKED) + b"f" * 16 + b"\r\n{}", (408,)),
    Case("chunk: larger than its size", raw(_POST, _HOST, _CHUNKED) + b"1\r\n{}{}\r\n0\r\n\r\n", (400,)),
    Case("chunk: smaller than its size", raw(_POST, _HOST, _CHUNKED) + b"f\r\n{}\r\n0\r\n\r\n", (408,)),
    Case("chunk: no last one", raw(_POST, _HOST, _CHUNKED) + b"2\r\n{}\r\n", (408,)),
    Case("chunk: bare newlines", raw(_POST, _HOST, _CHUNKED) + b"2\n{}\n0\n\n", (400,)),
    Case(
        "chunk: with extensions",
        raw(_POST, _HOST, _CLOSE, _CHUNKED) + b"1;a=b\r\n1\r\n0;c\r\n\r\n",
        verdict="unparsed",
    ),
    Case("chunk: with trailers", raw(_POST, _HOST, _CLOSE, _CHUNKED) + b"0\r\nContent-Length: 9\r\n\r\n", (400,)),
    Case(
        "chunk: 10,000 of one byte",
        raw(_POST, _HOST, _CLOSE, _CHUNKED) + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n",
        verdict="unparsed",
    ),
    Case("chunk: too many", raw(_POST, _HOST, _CHUNKED) + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40, (413,)),
    Case("coding: unknown", raw(_POST, _HOST, b"Transfer-Encoding: gzip") + b"{}", (400,)),
    Case("coding: chunked not last", raw(_POST, _HOST, b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n", (400,)),
    Case("coding: chunked in disguise", raw(_POST, _HOST, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n", (400,)),
    Case("a gzip bomb", post(BOMB, b"Content-Encoding: gzip"), verdict="unparsed"),
    Case("a bomb in a bomb", post(gzip.compress(BOMB), b"Content-Encoding: gzip, gzip"), verdict="unparsed"),
    Case("gzip by name only", post(b"{}", b"Content-Encoding: gzip, br, zstd"), verdict="unparsed"),
]
_HEADERS = [
    Case("headers: 99", post(b"[]", *[b"X: y"] * 96), verdict="unparsed"),
    Case("headers: 10,000", post(b"[]", *[b"X: y"] * 10_000), (431,)),
    Case("header: 60,000 bytes", post(b"[]", b"X-Long: " + b"x" * 60_000), verdict="unparsed"),
    Case("header: 70,000 bytes", post(b"[]", b"X-Long: " + b"x" * 70_000), (431,)),
    Case("header: a name of 60,000 bytes", post(b"[]", b"x" * 60_000 + b": y"), verdict="unparsed"),
    Case("header: Latin-1", post(b"[]", b"X-Name: \xe9\xff"), verdict="unparsed"),
    Case("header: a NUL", post(b"[]", b"X-Nul: \0"), (400,)),
    Case("header: control characters", post(b"[]", b"X-Bell: \x07\x1b[31m"), (400,)),
    Case("header: a space before the colon", post(b"[]", b"X-Space : y"), (400,)),
    Case("header: a space in the name", post(b"[]", b"X Space: y"), (400,)),
    Case("header: no name", post(b"[]", b": y"), (400,)),
    Case("header: no colon", post(b"[]", b"X-None"), (400,)),
    Case("header: folded", post(b"[]", b"X-Fold: a", b" b"), (400,)),
    Case("header: a bare newline", post(b"[]", b"X-A: a\nX-B: b"), (400,)),
    Case("header: a bare return", post(b"[]", b"X-A: a\rX-B: b"), (400,)),
    Case("header: bytes as name", post(b"[]", b"\xff\xfe: y"), (400,)),
    Case("expect: 100-continue", post(b"[]", b"Expect: 100-continue"), verdict="unparsed"),
    Case("expect: the impossible", post(b"[]", b"Expect: the-impossible"), verdict="unparsed"),
    Case("no host", raw(_POST, b"Content-Length: 0", _CLOSE), verdict="unparsed"),
    Case("two hosts", post(b"[]", b"Host: other"), verdict="unparsed"),
    Case(
        "ranges, conditions, cookies", post(b"[]", b"Range: bytes=0-", b"If-Match: *", b"Cookie: a"), verdict="unparsed"
    ),
]
_TOKEN = b"01a202a8-ee71-7334-9669-ac99b07dcb8c." + b"A" * 32
_LINES = [
    Case("token: none", _get(b"/callbacks/", method=b"POST"), (404,)),
    Case("token: a stranger's", _get(b"/callbacks/" + _TOKEN, method=b"POST"), (404,)),
    Case("token: raw UTF-8", _get("/callbacks/é".encode(), method=b"POST"), (400,)),
    Case("token: raw bytes", _get(b"/callbacks/\xff\xfe", method=b"POST"), (400,)),
    Case("token: escaped UTF-8", _get(b"/callbacks/%C3%A9", method=b"POST"), (404,)),
    Case("token: escaped nonsense", _get(b"/callbacks/%ff%00%zz%", method=b"POST"), (404,)),
    Case("token: Arabic digits", _get("/callbacks/٠١٢".encode(), method=b"POST"), (400,)),
    Case("token: the right one twice", _get(b"$PATH$PATH", method=b"POST"), (404,)),
    Case("path: 60,000 bytes", _get(b"/callbacks/" + b"x" * 60_000), (404,)),
    Case("path: 70,000 bytes", _get(b"/callbacks/" + b"x" * 70_000), (431,)),
    Case("path: a megabyte", _get(b"/" + b"x" * MEGABYTE), (431,)),
    Case("path: dots", _get(b"/static/../../../../etc/passwd"), (404,)),
    Case("path: escaped dots", _get(b"/callbacks/%2e%2e%2f%2e%2e%2fetc/passwd"), (404,)),
    Case("path: twice a slash", _get(b"/$PATH"), (404,)),
    Case("path: a whole URL", _get(b"http://other.example$PATH"), (200,)),
    Case("path: a query of 50,000 bytes", _get(b"$PATH?" + b"a=b&" * 12_500), (200,)),
    Case("path: a space", _get(b"/callbacks/a b"), (400,)),
    Case("path: none", raw(b"GET HTTP/1.1", _HOST), (400,)),
    Case("path: a star", _get(b"*", method=b"OPTIONS"), (404,)),
    Case("method: unknown", _get(b"$PATH", method=b"BREW"), (400,)),
    Case("method: small letters", _get(b"$PATH", method=b"post"), (400,)),
    Case("method: TRACE", _get(b"$PATH", method=b"TRACE"), (405,)),
    Case("method: PROPFIND", _get(b"$PATH", method=b"PROPFIND"), (405,)),
    Case("method: CONNECT", _get(b"other.example:443", method=b"CONNECT"), (400,)),
    Case("method: 10,000 letters", _get(b"$PATH", method=b"A" * 10_000), (400,)),
    Case("version: 1.0", raw(b"POST $PATH HTTP/1.0", b"Content-Length: 2") + b"[]", verdict="unparsed"),
    Case("version: 0.9", b"GET /healthz\r\n", ()),
    Case("version: 0.9, ended like a later one", b"GET /healthz\r\n\r\n", (200,)),
    Case("version: 3.0", _get(b"$PATH", version=b"HTTP/3.0"), (400,)),
    Case("version: none of HTTP", _get(b"$PATH", version=b"ICY/1.1"), (400,)),
]
_WIRE = [
    Case("wire: nothing", b"", ()),
    Case("wire: nothing, and the sender ends", b"", (), half=True),
    Case("wire: newlines", b"\r\n" * 100, ()),
    Case("wire: the start of a head", b"POST $PATH HTTP/1.1\r\nX-Ha", ()),
    Case("wire: HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", (400,)),
    Case("wire: TLS", bytes.fromhex("1603010200010001fc0303") + bytes(500), (400,)),
    Case("wire: SSH", b"SSH-2.0-OpenSSH_9.2\r\n", (400,)),
    Case("wire: SMTP", b"EHLO receiver\r\nMAIL FROM:<a@b.example>\r\n", (400,)),
    Case("wire: noise", bytes(range(255, -1, -1)) * 1000, (400,)),
    Case("upgrade: a websocket", _get(b"$PATH", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"), (200,)),
    Case(
        "upgrade: HTTP/2",
        raw(_POST, _HOST, b"Content-Length: 23", *_UPGRADE) + b'{"status":"processing"}',
        verdict="hint",
    ),
    Case(
        "upgrade: HTTP/2, in chunks",
        raw(_POST, _HOST, _CHUNKED, *_UPGRADE) + b'17\r\n{"status":"processing"}\r\n0\r\n\r\n',
        verdict="hint",
    ),
    Case("kept, then silence", _get(b"$PATH").replace(b"Connection: close\r\n", b""), (200,)),
    Case("a GET with a body", raw(b"GET $PATH HTTP/1.1", _HOST, _CLOSE, b"Content-Length: 2") + b"[]", (200,)),
    Case("pipelined: three", post(b"[]", close=False) * 2 + post(b"[]"), (200, 200, 200), "unparsed"),
    Case("pipelined: one too many", post(b"[]", close=False) * 18, (*[200] * 17, 429), "unparsed"),
    Case(
        "pipelined: behind a lie", raw(_POST, _HOST, b"Content-Length: 5") + b"[]" + post(b"[]"), (200, 400), "unparsed"
    ),
]
REQUESTS = [*_LENGTHS, *_CHUNKS, *_HEADERS, *_LINES, *_WIRE]
