"""Fetches a picture from a link, with limits on size and time, and from public addresses only (SSRF).

Each host is resolved once, every address is checked, and we connect to a checked address; TLS and the Host header keep
the name. Redirects are followed here, with the same checks. Importing httpx takes 200 ms, so nothing imports this
module at a start.
"""

import asyncio
import contextlib
import http.cookiejar
import ipaddress
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx

from receiver import __version__
from receiver.core.errors import NotFetched
from receiver.pictures.addresses import Address, FetchAllowlist, PictureUrl, parse_picture_url, ssrf_refusal
from receiver.pictures.files import PendingFile
from receiver.pictures.sniff import HEAD, KINDS, name_foreign, sniff_suffix
from receiver.pictures.unpack import DamagedBody, StreamUnpacker, UnpackedTooLarge

_MIB = 1024 * 1024
FETCH_MOST = 20 * _MIB  # bytes of one picture
VIDEO_MOST = 100 * _MIB  # bytes of one video
TOTAL_S = 60.0
VIDEO_TOTAL_S = 150.0  # for a video; less than the archive's lease
IDLE_S = 15.0  # without receiving a byte
CONNECT_S = 5.0
REDIRECTS_MOST = 3
_ADDRESSES_MOST = 4  # tried of one host
CRUMBS_MOST = 1000  # chunks; each costs as much time as a thousand bytes
_CRUMB = 256  # bytes that chunks must have on average by then
_TURN = 32  # chunks after which other tasks get a turn
HEAD_MOST = 32 * 1024  # bytes of a response's headers, including all informational responses before it
_HEAD_READ = 4 * 1024  # bytes of it parsed at a time: 230 informational responses at most
_WRITE_BYTES = 256 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (410, 451)
_NOT_YET = 404  # hosts need seconds until a picture that was announced is there
_PARTIAL = 206
_UNREAD_CODINGS = frozenset({"br", "zstd", "compress", "x-compress"})  # what we neither accept nor recognise

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From a host name and a port to all addresses of the host. Raises OSError."""


async def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a host, from this machine's resolver."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in answers))


class PictureFetcher:
    """A client that fetches pictures and videos; to be closed. `most` and `video_most` are in bytes."""

    def __init__(
        self,
        allow: FetchAllowlist,
        *,
        resolve: Resolve = resolve_host,
        most: int = FETCH_MOST,
        video_most: int = VIDEO_MOST,
        total_s: float = TOTAL_S,
        video_total_s: float = VIDEO_TOTAL_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._allow = allow
        self._resolve = resolve
        self._most = most
        self._video_most = max(video_most, most)
        self._total_s = total_s
        self._video_total_s = max(video_total_s, total_s)
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            headers={
                "User-Agent": f"receiver/{__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Connection": "close",
            },
            # A kept connection would be reused by address, for a name that its certificate was not verified for.
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=httpx.Timeout(idle_s, connect=CONNECT_S),
        )
        self._client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

    async def fetch_picture(self, link: str, part: PendingFile) -> str:
        """Write the picture at `link` into `part`; returns the suffix for its name.

        Raises NotFetched, and Unwritable from `part`.
        """
        limits = _FileLimits(self._most, self._video_most, self._total_s, self._video_total_s)
        try:
            async with asyncio.timeout(self._total_s) as clock:
                limits.clock = clock
                for _ in range(1 + REDIRECTS_MOST):
                    url = parse_picture_url(link)
                    async with self._open_response(url) as response:
                        if response.status_code not in _REDIRECTS:
                            return await self._save_body(url.host, response, part, limits)
                        link = _redirect_link(link, response)
        except TimeoutError:
            raise NotFetched(f"the {limits.noun} took longer than {limits.total_s:g} s", silent=True) from None
        raise NotFetched(f"more than {REDIRECTS_MOST} redirects", permanent=True)

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def _resolve_allowed(self, url: PictureUrl) -> list[Address]:
        """The addresses of the URL's host. Raises NotFetched unless all of them are allowed."""
        if url.address is not None:
            found: list[Address] = [url.address]
        else:
            try:
                found = [ipaddress.ip_address(it) for it in await self._resolve(url.host, url.port)]
            except UnicodeError:
                raise NotFetched(f"{url.host} is not a valid host name", permanent=True) from None
            except OSError as error:
                text = f"{url.host} cannot be resolved: {error.strerror or error}"
                raise NotFetched(text, silent=True) from None
        if not found:
            raise NotFetched(f"{url.host} has no address", silent=True)
        for address in found:
            if (why := ssrf_refusal(url, address, self._allow)) is not None:
                raise NotFetched(why, permanent=True, forbidden=True)
        return found[:_ADDRESSES_MOST]

    @contextlib.asynccontextmanager
    async def _open_response(self, url: PictureUrl) -> AsyncIterator[httpx.Response]:
        """The response from the first address that accepts a connection; its body is not read yet."""
        response = None
        try:
            for address in (addresses := await self._resolve_allowed(url)):
                try:
                    response = await self._client.send(self._build_request(url, address), stream=True)
                    break
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if address == addresses[-1]:
                        raise
            assert response is not None  # noqa: S101 - there is at least one address, and the last one raises
            yield response
        except httpx.InvalidURL:
            raise NotFetched("the link cannot be parsed", permanent=True) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:  # some TLS errors reach us as OSError
            silent = isinstance(error, httpx.ConnectError | httpx.TimeoutException)
            raise NotFetched(f"{url.host}: {_error_text(error)}", silent=silent) from None
        finally:
            if response is not None:
                await response.aclose()

    def _build_request(self, url: PictureUrl, address: Address) -> httpx.Request:
        host = f"[{address}]" if address.version == 6 else str(address)
        return self._client.build_request(
            "GET",
            f"{url.scheme}://{host}:{url.port}{url.target}",
            headers={"Host": url.host_header},
            extensions={"sni_hostname": url.host, "trace": _HeadLimit(url.host).trace},
        )

    async def _save_body(self, host: str, response: httpx.Response, part: PendingFile, limits: "_FileLimits") -> str:
        """Write the body into `part` as it arrives; returns the suffix that fits its first bytes.

        Those also say whether it is packed: many hosts send a Content-Encoding that is not true.
        """
        status = response.status_code
        if not 200 <= status < 300 or status == _PARTIAL:
            raise NotFetched(f"{host} answered HTTP {status}", permanent=status in _GONE, early=status == _NOT_YET)
        length = response.headers.get("Content-Length", "")
        limits.announce(int(length[:20]) if length.isascii() and length.isdigit() else 0)
        coding = ", ".join(response.headers.get_list("Content-Encoding"))
        body, head, unpacker = _PictureBody(host, coding, part, limits), bytearray(), None
        try:
            async with contextlib.aclosing(self._read_wire(host, response, limits)) as chunks:
                async for chunk in chunks:
                    if unpacker is not None:
                        await self._unpack_into(body, unpacker, chunk)
                        continue
                    head += chunk
                    if len(head) >= HEAD:
                        unpacker = StreamUnpacker(bytes(head), coding, self._video_most)
                        await self._unpack_into(body, unpacker, bytes(head))
            if not head:
                raise NotFetched(f"{host} sent an empty body")
            if unpacker is None:
                unpacker = StreamUnpacker(bytes(head), coding, self._video_most)
                await self._unpack_into(body, unpacker, bytes(head))
        except UnpackedTooLarge:
            raise limits.too_large() from None
        except DamagedBody:
            raise NotFetched(f"{host} sent it compressed, and damaged") from None
        if not unpacker.is_whole:
            raise NotFetched(f"{host} sent it compressed, and cut off")
        return await body.finish()

    async def _read_wire(self, host: str, response: httpx.Response, limits: "_FileLimits") -> AsyncGenerator[bytes]:
        """The body as it was sent, within its limits."""
        size, count = 0, 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            count += 1
            if size > limits.most:
                raise limits.too_large()
            if count % _TURN == 0:  # what arrived in one read comes without a pause
                await asyncio.sleep(0)
                if count > CRUMBS_MOST and size < count * _CRUMB:
                    raise NotFetched(f"{host} sends it in tiny pieces", permanent=True)
            yield chunk

    async def _unpack_into(self, body: "_PictureBody", unpacker: StreamUnpacker, chunk: bytes) -> None:
        for count, piece in enumerate(unpacker.feed(chunk)):
            if count:
                await asyncio.sleep(0)
            await body.add(piece)


class _FileLimits:
    """What one file may take: a picture's limits until its first bytes say that it is a video.

    So a host cannot send a picture of a video's size. What is announced is compared at once with the larger limit, and
    with the picture's as soon as it is known to be one.
    """

    def __init__(self, most: int, video_most: int, total_s: float, video_total_s: float) -> None:
        self.most = most
        self.total_s = total_s
        self.noun = "picture"
        self.clock: asyncio.Timeout | None = None
        self._video_most = video_most
        self._video_total_s = video_total_s
        self._announced = 0  # bytes

    def announce(self, length: int) -> None:
        """The host says that it will be so many bytes. Raises NotFetched."""
        self._announced = length
        if length > self._video_most:  # whatever it is
            raise NotFetched(f"the file is larger than {self._video_most / _MIB:g} MiB", permanent=True)

    def learn(self, suffix: str) -> None:
        """It is known what it is. Raises NotFetched."""
        if KINDS[suffix].media_type.startswith("video/"):
            self.noun, self.most = "video", self._video_most
            if self.clock is not None and (when := self.clock.when()) is not None:
                self.clock.reschedule(when + self._video_total_s - self.total_s)
                self.total_s = self._video_total_s
        elif self._announced > self.most:
            raise self.too_large()

    def too_large(self) -> NotFetched:
        """Why it is refused."""
        return NotFetched(f"the {self.noun} is larger than {self.most / _MIB:g} MiB", permanent=True)


class _PictureBody:
    """The unpacked body of one picture, which is written as it comes, once its first bytes are a picture's."""

    def __init__(self, host: str, coding: str, part: PendingFile, limits: _FileLimits) -> None:
        self._host = host
        self._coding = coding
        self._part = part
        self._limits = limits
        self._size = 0  # bytes
        self._suffix: str | None = None
        self._held = bytearray()

    async def add(self, piece: bytes) -> None:
        """Take the next bytes. Raises NotFetched unless they are a picture's, and Unwritable."""
        self._held += piece
        self._size += len(piece)
        if self._suffix is None and len(self._held) >= HEAD:
            self._suffix = self._sniff()
        if self._size > self._limits.most:
            raise self._limits.too_large()
        if len(self._held) >= _WRITE_BYTES:
            await self._write()

    async def finish(self) -> str:
        """Write what is left; returns the suffix. Raises as `add` does."""
        self._suffix = self._suffix or self._sniff()
        if self._held:
            await self._write()
        return self._suffix

    async def _write(self) -> None:
        await self._part.write(bytes(self._held))
        self._held.clear()

    def _sniff(self) -> str:
        head = bytes(self._held[:HEAD])
        if (found := sniff_suffix(head)) is not None:
            self._limits.learn(found)
            return found
        named = {it.strip().lower() for it in self._coding.split(",")} & _UNREAD_CODINGS
        if named:
            problem = f"{self._host} sent it compressed as {sorted(named)[0]}, though we did not accept that"
            raise NotFetched(problem, permanent=True)
        # Until a picture is there, some hosts answer 200 with a page that says so.
        raise NotFetched(f"{self._host} sent {name_foreign(head)}", early=True)


class _HeadLimit:
    """Limits the response headers of one request, including any number of informational responses (1xx).

    httpcore reads on until a final response arrives, and parses all that came in one read without a pause.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._size = 0  # bytes
        self._over = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore for each of its steps; limits the connection's stream as soon as there is one."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._limit_reads(info["return_value"])
        elif event == "http11.receive_response_headers.complete":
            self._over = True

    def _limit_reads(self, stream: Any) -> None:
        inner = stream.read

        async def read_limited(max_bytes: int, timeout: float | None = None) -> bytes:
            if self._over:
                return await inner(max_bytes, timeout=timeout)  # type: ignore[no-any-return]  # httpcore's, bytes
            if self._size >= HEAD_MOST:
                raise NotFetched(f"{self._host} sends response headers without end")
            await asyncio.sleep(0)  # what TLS has buffered comes without a pause
            chunk: bytes = await inner(min(max_bytes, _HEAD_READ), timeout=timeout)
            self._size += len(chunk)
            return chunk

        stream.read = read_limited


def _redirect_link(link: str, response: httpx.Response) -> str:
    try:
        return urljoin(link, response.headers["Location"])
    except (KeyError, ValueError):
        raise NotFetched("a redirect without a usable Location", permanent=True) from None


def _error_text(error: Exception) -> str:
    """What went wrong, without the addresses that some libraries add."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_S:g} s"
    if isinstance(error, httpx.TimeoutException):
        return "it stopped responding"
    if isinstance(error, httpx.ConnectError):
        return f"no connection ({error})" if str(error) else "no connection"
    return f"the connection broke ({type(error).__name__})"
