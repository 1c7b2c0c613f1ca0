"""A web site on loopback that answers as it is told, path by path; by default as a receiver does. For the doctor."""

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from receiver.tokens import MacPurpose, Ring

RING = Ring(["a-secret-key-for-tests-0001"])
OTHERS = Ring(["somebody-elses-secret-key"])
Answer = tuple[int, dict[str, str], object]
"""Status, headers, and a body: bytes, or what is made JSON of."""
REFUSAL = {"error": {"code": "not_found", "message": "no"}}


class Site:
    """What it answers; `overrides` come first: from the beginning of `METHOD /path` to the answer, or None: hang up."""

    def __init__(self, ring: Ring = RING) -> None:
        self.ring = ring
        self.overrides: dict[str, Answer | None] = {}
        self.asked: list[tuple[str, str, int]] = []  # method, path, bytes of the body
        self.url = ""

    def answer(self, method: str, path: str) -> Answer | None:
        for begin, answer in self.overrides.items():
            if f"{method} {path}".startswith(begin):
                return answer
        if path == "/readyz":
            return 200, {}, {"status": "ready"}
        if path.startswith("/doctor/"):
            nonce = path.removeprefix("/doctor/")
            return 200, {}, {"nonce": nonce, "mac": self.ring.sign(MacPurpose.DOCTOR, nonce)}
        if path.startswith("/callbacks/") and (ref := self.ring.open(path.split("/")[2])):
            return 200, {}, {"ref": ref}
        return 404, {}, REFUSAL


@contextlib.contextmanager
def on_loopback(site: Site, certificate: tuple[Path, Path] | None = None) -> Iterator[Site]:
    """`site`, at its `url`; by TLS with a certificate and its key."""

    class Turn(http.server.BaseHTTPRequestHandler):
        def turn(self) -> None:
            size = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            site.asked.append((self.command, self.path, size))
            answer = site.answer(self.command, self.path)
            if answer is None:
                return
            status, headers, body = answer
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = turn  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with quiet_server(Turn) as server:
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, certificate))
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        site.url = f"{scheme}://localhost:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield site
        server.shutdown()


@contextlib.contextmanager
def quiet_server(
    handler: Callable[..., http.server.BaseHTTPRequestHandler],
) -> Iterator[http.server.ThreadingHTTPServer]:
    """A server that says nothing of clients that distrust it."""

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Quiet(("127.0.0.1", 0), handler) as server:
        yield server
