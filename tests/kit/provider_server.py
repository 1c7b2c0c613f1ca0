"""A stand-in for the provider that answers with given bytes, or misbehaves as told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from kit.listening import Behave, listening
from receiver.core.types import SubmitAnswer
from receiver.providers.http_client import open_client
from receiver.providers.vtrix.client import Vtrix

NOW = 1_767_000_000_000
KEY = "sk-planted-secret-0001"
TOKEN = "0199c0de-0000-7000-8000-000000000001." + "A-b_" * 8
CALLBACK = f"https://me.example/callbacks/{TOKEN}"
PARAMS = b'{"jobId": "j", "imageNo": 0, "scale": 1.50}'
TASK = b'{"id": "abc", "status": "in_progress", "model": "midjourney_outpaint", "created_at": 1767000000}'


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Stand:
    """Stands in for the provider: keeps each request as it came, and answers with given bytes or misbehaves as told."""

    def __init__(self, behaviour: bytes | Behave) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/model/v1/generation"

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(httpx.Headers(_pairs(head)).get("content-length", "0"))
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                if not isinstance(self.behaviour, bytes):
                    return await self.behaviour(reader, writer)
                writer.write(self.behaviour)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        finally:
            writer.close()

    def json(self) -> object:
        return json.loads(self.requests[-1].partition(b"\r\n\r\n")[2])

    def headers(self) -> httpx.Headers:
        return httpx.Headers(_pairs(self.requests[-1]))


def _pairs(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


@asynccontextmanager
async def standing(behaviour: bytes | Behave, **spans: float) -> AsyncIterator[tuple[Stand, Vtrix]]:
    stand = Stand(behaviour)
    async with listening(stand.meet) as stand.port, open_client() as client:
        yield stand, Vtrix(client, stand.url, KEY, clock=lambda: NOW, **spans)


async def submitted(behaviour: bytes | Behave, **spans: float) -> SubmitAnswer:
    async with standing(behaviour, **spans) as (_, vtrix):
        return await vtrix.submit("midjourney_outpaint", PARAMS, CALLBACK)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A good answer that takes a second or more to come through."""
    answer = http(200, b" " * 100 + TASK)
    writer.write(answer[: -len(TASK) - 100])
    for place in range(-len(TASK) - 100, -1):
        writer.write(answer[place : place + 1])
        await writer.drain()
        await asyncio.sleep(0.01)


def then_close(answer: bytes) -> Behave:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave
