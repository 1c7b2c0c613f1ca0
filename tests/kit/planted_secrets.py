"""Secrets that can be recognised wherever they turn up, and a world that says back all it is told."""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from urllib.parse import quote

from kit.listening import listening
from kit.picture_files import plain

MARK = "s3nt1nel"
SECRET_KEYS = f"{MARK}-Signing-Key-000001 {MARK}-Signing-Key-000002"
API_TOKEN = f"{MARK}-Api-Token-00000001"
PROVIDER_KEY = f"{MARK}-Provider-Key-000001"
WRONG_TOKEN = f"{MARK}-Wrong-Token-0000001"

# Runs the service with every library at DEBUG, and with faults that tell all they know: the environment and the
# settings, as an exception's text, out of a parser, a page and a loop.
LOUD = """
import logging, os, sys
from receiver.providers import registry
from receiver.service import wiring
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics
setup = logs.setup_logging
def loud(stream, **given):
    redactor = setup(stream, **{**given, "level": logging.DEBUG})
    for name in logs._NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG)
    return redactor
logs.setup_logging = loud
logs.LogFlood.should_write = lambda self, record: True
known = []
load = wiring.config.ensure_secrets
def noted(settings):
    found = load(settings)
    urls = [it.url for it in settings.targets]
    known.append(repr((dict(os.environ), settings.provider_key, settings.targets, urls, found)))
    return found
wiring.config.ensure_secrets = noted
render = Metrics.render_text
def broken(self, now):
    Metrics.render_text = render
    raise RuntimeError(known[-1])
Metrics.render_text = broken
provider = registry.default_adapter()
class Breaking:
    def __getattr__(self, name):
        return getattr(provider, name)
    def __call__(self, *args, **given):
        return provider(*args, **given)
    @staticmethod
    def parse(body):
        if b"break the parser" in body:
            raise ValueError(known[-1] + body.decode())
        return provider.parse(body)
registry.PROVIDERS[registry.DEFAULT_PROVIDER] = Breaking()
from receiver.cli.main import main
sys.argv = ["receiver", "serve", *sys.argv[1:]]
main()
"""


def targets(port: int) -> list[str]:
    """Apprise URLs with a secret in every part that can have one. What they are sent is answered with a complaint."""
    here = f"127.0.0.1:{port}"
    asked = f"?+X-Key={MARK}Header01&-k={MARK}Query01&:field={MARK}Field01"
    return [
        f"json://{MARK}User01:{quote(f'{MARK}/Pass 01', safe='')}@{here}/{MARK}Path01/{asked}",
        f"xml://{MARK}User02:{MARK}Pass02@{here}/{MARK}Path02",
        f"form://{here}/only{MARK}letters/?+Authorization=Bearer%20{MARK}Header02",
        f"ntfy://{MARK}User03:{MARK}Pass03@{here}/{MARK}-topic",
        f"ntfy://tk_{MARK}Token04@{here}/{MARK}-other",
        f"gotify://{here}/{MARK}Token05",
        f"mmost://{here}/{MARK}token06",
        f"slack://{MARK}-no-such-token",
    ]


def mail_target(port: int) -> str:
    """The same, of a mail server; Apprise lets it have a message in 5.5 s."""
    return f"mailto://{MARK}user07:{MARK}Pass07@127.0.0.1:{port}?from=a@example.org&to=b@example.org"


def leaks(text: str) -> list[str]:
    """Where a secret stands in a text, with what is around it."""
    pairs = [
        f"{MARK}User01:{MARK}/Pass 01",
        f"{MARK}User02:{MARK}Pass02",
        f"{MARK}User03:{MARK}Pass03",
        f"\0{MARK}user07\0{MARK}Pass07",
        f"{MARK}Pass07",
        f"{MARK}user07",
    ]
    coded = [base64.b64encode(it.encode()).decode().rstrip("=") for it in pairs]
    found = re.finditer("|".join([f"(?i:{MARK})", *map(re.escape, coded)]), text)
    return [text[max(0, it.start() - 200) : it.end() + 60] for it in found]


def written(folder: Path, *, but: Iterable[Path] = ()) -> dict[str, str]:
    """What is in the files of a folder, by name."""
    left_out = set(but)
    return {
        str(path.relative_to(folder)): path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file() and path not in left_out
    }


class Tattler:
    """Provider, target and picture server in one: complains of every request by repeating all of it.

    `taking`: submissions are taken; otherwise they are answered by `refusal`. Keeps the callback URLs it was told.
    """

    def __init__(self) -> None:
        self.port = 0
        self.refusal: int | None = None
        self.callbacks: list[str] = []
        self.told: list[str] = []
        self._picture = plain()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = (asyncio.IncompleteReadError, ConnectionError)
        with contextlib.closing(writer), contextlib.suppress(*gone):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?i)content-length: *(\d+)", head)
            body = (await reader.readexactly(int(length[1]) if length else 0)).decode("utf-8", "replace")
            status, kind, answer = self._answer(head, body)
            writer.write(
                f"HTTP/1.1 {status} {head.splitlines()[0][:200]}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(answer)}\r\nConnection: close\r\n\r\n".encode()
                + answer
            )
            await writer.drain()

    def _answer(self, head: str, body: str) -> tuple[int, str, bytes]:
        path = head.split()[1]
        if path.endswith(".png"):
            return 200, "image/png", self._picture
        all_of_it = f"{head}{body}"
        if not path.startswith("/model/v1/generation"):
            self.told.append(body)
            said = {"error": all_of_it, "message": all_of_it, "errorDescription": all_of_it}
            return (
                (500, "application/json", json.dumps(said).encode())
                if "User" in path
                else (
                    401,
                    "text/plain",
                    all_of_it.encode(),
                )
            )
        if "/task/" in path:
            return 401, "application/json", json.dumps({"error": {"code": 401, "message": all_of_it}}).encode()
        self.callbacks += re.findall(r'"callback":\s*"([^"]+)"', body)
        if self.refusal is not None:
            refused = {"error": {"code": 4007098, "message": all_of_it}, "request": all_of_it}
            return self.refusal, "application/json", json.dumps(refused).encode()
        made = {"id": f"task{len(self.callbacks):04d}", "status": "pending", "model": "midjourney_outpaint"}
        return 200, "application/json", json.dumps({**made, "created_at": 1_795_337_505, "asked": all_of_it}).encode()


@contextlib.asynccontextmanager
async def tattling() -> AsyncIterator[Tattler]:
    """One that listens."""
    tattler = Tattler()
    async with listening(tattler._meet) as tattler.port:
        yield tattler
