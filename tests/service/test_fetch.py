"""Fetching over real sockets on loopback: what is taken, what is refused, and that no link reaches a canary."""

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from kit.archive_loop import LOOPBACK, Site, answer, png, serving
from kit.listening import listening
from kit.live_service import free_port
from kit.provider_server import hang, reset
from receiver import __version__
from receiver.core.errors import NotFetched
from receiver.pictures.addresses import FetchAllowlist
from receiver.pictures.fetch import PictureFetcher, Resolve, resolve_host
from receiver.pictures.files import ArchiveFiles

pytestmark = pytest.mark.anyio

REF = "0199c0de-0000-7000-8000-000000000001"
PICTURE = png(0, 300_000)


class Rig:
    """Fetches one picture into the archive."""

    def __init__(self, root: Path, fetch: PictureFetcher) -> None:
        self.files = ArchiveFiles(root)
        self._fetch = fetch

    async def kept(self, link: str) -> Path:
        """The file that was fetched."""
        async with self.files.open_pending() as part:
            suffix = await self._fetch.fetch_picture(link, part)
            path = await part.keep_as(REF, f"0.{suffix}")
            assert (part.size, part.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).digest())
            return path

    async def refused(self, link: str) -> NotFetched:
        """Why it was not."""
        with pytest.raises(NotFetched) as refused:
            await self.kept(link)
        assert self.files.find_file(REF, "0.png") is None
        assert "secret" not in str(refused.value)
        return refused.value


@asynccontextmanager
async def rigged(
    root: Path,
    allow: FetchAllowlist = LOOPBACK,
    *,
    resolve: Resolve = resolve_host,
    most: int = 1 << 20,
    total_s: float = 20,
    idle_s: float = 20,
) -> AsyncIterator[Rig]:
    fetch = PictureFetcher(allow, resolve=resolve, most=most, total_s=total_s, idle_s=idle_s)
    try:
        yield Rig(root, fetch)
    finally:
        await fetch.close()


def names(**known: list[str]) -> Resolve:
    """A resolver that knows these, as `name.example`, no `.invalid`, and asks the real one about the others."""

    async def resolve(host: str, port: int) -> list[str]:
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = known.get(host.removesuffix(".example"))
        return found if found is not None else await resolve_host(host, port)

    return resolve


@pytest.mark.parametrize(
    "sent",
    [
        answer(PICTURE),
        answer(PICTURE, 200, "Content-Type: text/html"),
        answer(PICTURE, 200, "Content-Encoding: identity"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(PICTURE), PICTURE),
        b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE,
    ],
    ids=["plain", "called-html", "identity", "chunked", "until-closed"],
)
async def test_a_picture_is_kept_as_it_was_sent(tmp_path: Path, sent: bytes) -> None:
    async with serving() as site, rigged(tmp_path) as rig:
        site.at["/a"] = sent
        path = await rig.kept(site.link("/a?sig=secret"))
    assert path.name == "0.png"
    assert path.read_bytes() == PICTURE


async def test_a_request_says_who_asks_and_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy is used, nothing is asked for compressed, the host is named as in the link."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with serving(1) as site, rigged(tmp_path, resolve=names(cdn=["127.0.0.1"])) as rig:
        await rig.kept(f"http://cdn.example:{site.port}/0.png?sig=a%2Fb+c#part")
    request, *lines = site.heads[0].strip().split("\r\n")
    assert request == "GET /0.png?sig=a%2Fb+c HTTP/1.1"
    assert dict(line.lower().split(": ") for line in lines) == {
        "host": f"cdn.example:{site.port}",
        "user-agent": f"receiver/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


async def test_redirects_are_followed_three_times(tmp_path: Path) -> None:
    async with serving(1) as site, rigged(tmp_path) as rig:
        for number, status in enumerate((301, 302, 307)):
            site.at[f"/{number}"] = answer(b"<html>", status, f"Location: {number + 1}")
        site.at["/3"] = answer(PICTURE)
        assert (await rig.kept(site.link("/0"))).read_bytes() == PICTURE
        site.at["/3"] = answer(b"", 308, f"Location: {site.link('/0.png')}")
        (tmp_path / REF[-2:] / REF / "0.png").unlink()
        refused = await rig.refused(site.link("/0"))
    assert (str(refused), refused.permanent) == ("more than 3 redirects", True)


async def test_the_next_address_is_tried_where_one_takes_no_connection(tmp_path: Path) -> None:
    async with serving(1) as site:
        here = FetchAllowlist(networks=(ip_network("127.0.0.0/8"),))
        async with rigged(tmp_path, here, resolve=names(cdn=["127.0.0.9", "127.0.0.1"])) as rig:
            await rig.kept(f"http://cdn.example:{site.port}/0.png")
        assert site.asked == ["/0.png"]


async def test_tls_is_spoken_with_the_name_and_not_with_the_address(tmp_path: Path) -> None:
    """The name stands in the first message of the handshake; nobody answers it here."""
    heard = bytearray()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, rigged(tmp_path, resolve=names(cdn=["127.0.0.1"])) as rig:
        refused = await rig.refused(f"https://cdn.example:{port}/a?sig=secret")
    assert b"cdn.example" in heard
    assert not refused.permanent


async def test_no_connection_serves_a_second_name(tmp_path: Path) -> None:
    """It would be found again by its address, though its certificate was another name's. The server would keep it."""
    connections: list[list[str]] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append([])
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                connections[-1].append(head.lower().partition("host: ")[2].partition(":")[0])
                writer.write(answer(PICTURE, 200, "Connection: keep-alive"))
                await writer.drain()
        writer.close()

    async with listening(keep) as port, rigged(tmp_path, resolve=names(a=["127.0.0.1"], b=["127.0.0.1"])) as rig:
        for name in ("a", "b", "a"):
            await rig.kept(f"http://{name}.example:{port}/")
    assert connections == [["a.example"], ["b.example"], ["a.example"]]


# What is not


@pytest.mark.parametrize(
    ("sent", "says", "permanent"),
    [
        (answer(b"", 404), "127.0.0.1 answered HTTP 404", False),
        (answer(b"", 410), "127.0.0.1 answered HTTP 410", True),
        (answer(b"", 403), "127.0.0.1 answered HTTP 403", False),
        (answer(b"", 429), "127.0.0.1 answered HTTP 429", False),
        (answer(PICTURE, 206), "127.0.0.1 answered HTTP 206", False),
        (answer(PICTURE, 503), "127.0.0.1 answered HTTP 503", False),
        (answer(b"", 302), "a redirect without a usable Location", True),
        (answer(b"", 302, "Location: ftp://127.0.0.1/a"), "the link is not a plain http:// or https:// link", True),
        (answer(b"", 302, "Location: //user@127.0.0.1/a"), "the link contains a user name", True),
        (answer(b"<html>secret" + b" " * 100), "127.0.0.1 sent a web page, not a picture", False),
        (answer(b""), "127.0.0.1 sent an empty body", False),
        (answer(b"", 200, "Content-Length: 1048577") + png(0, 5_000), "the picture is larger than 1 MiB", True),
        (answer(b"", 200, "Content-Length: 99999999999999999999"), "the file is larger than 100 MiB", True),
        (answer(png(0, 1 << 20), 200, "Content-Length: 1"), "", True),
        (b"HTTP/1.0 200 OK\r\n\r\n" + png(0, 1 << 20), "the picture is larger than 1 MiB", True),
        (answer(PICTURE[:-1], 200, f"Content-Length: {len(PICTURE)}"), "127.0.0.1: the connection broke", False),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000, "127.0.0.1 sends response headers without end", False),
        (b"nonsense\r\n\r\n", "127.0.0.1: the connection broke", False),
    ],
    ids=lambda it: repr(it)[:50],
)
async def test_what_is_not_a_whole_picture_is_not_kept(
    tmp_path: Path, sent: bytes, says: str, *, permanent: bool
) -> None:
    """And whether another try is of any use is known."""
    async with serving() as site, rigged(tmp_path) as rig:
        site.at["/a"] = sent
        if not says:  # what goes beyond the length that was said is never read
            with pytest.raises(NotFetched):
                await rig.kept(site.link("/a"))
            return
        refused = await rig.refused(site.link("/a?sig=secret"))
    assert str(refused).startswith(says)
    assert (refused.permanent, refused.silent) == (permanent, False)


async def test_a_host_that_does_not_answer_is_known_to_be_silent(tmp_path: Path) -> None:
    """So that its other pictures need not be asked for in the same round."""
    port = free_port()
    async with rigged(tmp_path, resolve=names(none=[])) as rig:
        nobody = await rig.refused(f"http://127.0.0.1:{port}/secret")
        unknown = await rig.refused(f"http://none.example:{port}/secret")
        unfound = await rig.refused(f"http://does-not-exist.invalid:{port}/secret")
    assert [(it.silent, it.permanent) for it in (nobody, unknown, unfound)] == [(True, False)] * 3


async def test_one_that_stalls_or_drips_is_left(tmp_path: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(PICTURE)[:200])
        while True:
            writer.write(b"\0")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving() as site:
        site.at |= {"/hang": hang, "/drip": drip, "/reset": reset}
        async with rigged(tmp_path, idle_s=0.2) as rig:
            stalled = await rig.refused(site.link("/hang"))
            assert (str(stalled), stalled.silent) == ("127.0.0.1: it stopped responding", True)
            assert not (await rig.refused(site.link("/reset"))).permanent
        async with rigged(tmp_path, total_s=0.5) as rig:
            dripped = await rig.refused(site.link("/drip"))
            assert (str(dripped), dripped.permanent) == ("the picture took longer than 0.5 s", False)


# Where nobody goes


CANARY_LINKS = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.0.0.01:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127%2e0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://cdn.example@127.0.0.1:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://cdn.example\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@cdn.example/",
    "http://127.0.0.1:{port}#@cdn.example/",
    "http://127.0.0.1:{port}?@cdn.example/",
    "http:\\\\127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1:{port}/\r\nHost: cdn.example",
    "https://127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "http://loopback.example:{port}/",
    "http://loopback6.example:{port}/",
    "http://mapped.example:{port}/",
    "http://zoned.example:{port}/",
    "http://unspecified.example:{port}/",
    "http://mixed.example:{port}/",
    "http://mixed-last.example:{port}/",
    "http://private.example:{port}/",
    "http://metadata.example:{port}/",
]
KNOWN = {
    "loopback": ["127.0.0.1"],
    "loopback6": ["::1"],
    "mapped": ["::ffff:127.0.0.1"],
    "zoned": ["::1%1"],
    "unspecified": ["0.0.0.0"],  # noqa: S104 - not to bind to
    "mixed": ["127.0.0.1", "93.184.216.34"],
    "mixed-last": ["93.184.216.34", "127.0.0.1"],
    "private": ["10.0.0.1"],
    "metadata": ["169.254.169.254"],
}


@asynccontextmanager
async def canary() -> AsyncIterator[Site]:
    """A site on all of loopback, on one port."""
    site = Site()
    site.at = {"/": answer(PICTURE)}
    first = await asyncio.start_server(site.meet, "127.0.0.1", 0)
    site.port = first.sockets[0].getsockname()[1]
    others = ["127.0.0.2", *(["::1"] if os.path.exists("/proc/net/if_inet6") else [])]  # noqa: ASYNC240 - not a disk
    servers = [first, *[await asyncio.start_server(site.meet, it, site.port) for it in others]]
    try:
        yield site
    finally:
        for server in servers:
            server.close()


async def test_no_link_reaches_a_canary_on_loopback(tmp_path: Path) -> None:
    """Its port is allowed here, so that only the addresses stand between. Each is refused for good."""
    async with (
        canary() as site,
        rigged(tmp_path, FetchAllowlist(ports=frozenset({site.port})), resolve=names(**KNOWN)) as rig,
    ):
        for link in CANARY_LINKS:
            refused = await rig.refused(link.format(port=site.port))
            assert refused.permanent, (link, str(refused))
        assert site.asked == []
    assert len(CANARY_LINKS) >= 30


async def test_the_canary_would_sing(tmp_path: Path) -> None:
    """Where loopback is allowed, the same links do reach it."""
    everywhere = FetchAllowlist(networks=tuple(ip_network(it) for it in ("0.0.0.0/8", "127.0.0.0/8", "::/96")))
    async with canary() as site, rigged(tmp_path, everywhere, resolve=names(**KNOWN)) as rig:
        for link in ("http://127.0.0.2:{port}/", "http://LOCALHOST:{port}/", "http://loopback.example:{port}/"):
            await rig.kept(link.format(port=site.port))
        assert len(site.asked) == 3


async def test_only_80_and_443_are_connected_to(tmp_path: Path) -> None:
    async with canary() as site, rigged(tmp_path, FetchAllowlist()) as rig:
        refused = await rig.refused(f"http://127.0.0.1:{site.port}/")
        assert str(refused) == f"port {site.port} is not allowed"
        assert site.asked == []


@pytest.mark.parametrize("link", [it for it in CANARY_LINKS if it.isprintable() and " " not in it])
async def test_no_redirect_reaches_a_canary(tmp_path: Path, link: str) -> None:
    """Of a site that is trusted itself."""
    async with canary() as site, serving() as trusted:
        allow = FetchAllowlist(frozenset({"trusted.example"}), ports=frozenset({site.port}))
        async with rigged(tmp_path, allow, resolve=names(**KNOWN, trusted=["127.0.0.1"])) as rig:
            location = link.format(port=site.port).encode("utf-8").decode("latin-1")
            trusted.at["/a"] = answer(b"", 302).replace(
                b"\r\n\r\n", f"\r\nLocation: {location}\r\n\r\n".encode("latin-1")
            )
            await rig.refused(f"http://trusted.example:{trusted.port}/a")
        assert trusted.asked[:1] == ["/a"]
        assert site.asked == []


async def test_a_name_that_changes_its_mind_is_believed_once(tmp_path: Path) -> None:
    """It is resolved once; what it would say the second time, which leads to the canary, nobody connects to."""
    answers = [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    async with canary() as site:
        allow = FetchAllowlist(networks=LOOPBACK.networks, ports=frozenset({site.port}))
        async with rigged(tmp_path, allow, resolve=rebinding) as rig:
            await rig.kept(f"http://cdn.example:{site.port}/")
            assert asked == ["cdn.example"]
            assert len(site.asked) == 1
            with pytest.raises(NotFetched, match="not public"):
                await rig.kept(f"http://cdn.example:{site.port}/")
            assert len(site.asked) == 1
