"""The servers that are measured: a no-op handler, and the receiver's web with its sends held back.

`python -m bench.servers noop|held` listens on a free port of loopback, prints the port, and runs until it is ended.
"""

import asyncio
import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from receiver import config, web
from receiver.wiring import open_parts


async def _noop(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"ref": request.path_params["token"][:36], "verdict": "accepted"})


def noop() -> Starlette:
    """What a Starlette handler costs that reads the same body and stores nothing."""
    return Starlette(routes=[Route("/callbacks/{token}", _noop, methods=["POST"])])


class _Announcing(uvicorn.Server):
    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        _announce(self.servers[0].sockets[0].getsockname()[1])


def _announce(port: int) -> None:
    print(port, flush=True)


async def held() -> None:
    """The receiver without its loops: callbacks are stored, nothing is sent."""
    async with open_parts(config.load(os.environ)) as parts:
        await web.serve(parts, host="127.0.0.1", port=0, stop=asyncio.Event(), ready=_announce)


if __name__ == "__main__":
    if sys.argv[1] == "noop":
        settings = uvicorn.Config(
            noop(), port=0, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
        )
        asyncio.run(_Announcing(settings).serve())
    else:
        asyncio.run(held())
