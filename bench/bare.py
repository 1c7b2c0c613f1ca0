"""The baseline: uvicorn and a Starlette app whose only handler reads the body and stores nothing.

`python -m bench.bare [PORT]` listens on this loopback port, by default a free one, prints the port, and runs until it
is stopped. It imports nothing from the receiver.
"""

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def _discard_body(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"ref": request.path_params["token"][:36], "verdict": "accepted"})


class _AnnouncingServer(uvicorn.Server):
    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


def serve_noop(port: int) -> None:
    """Serve the baseline on this port; 0 picks a free one."""
    app = Starlette(routes=[Route("/callbacks/{token}", _discard_body, methods=["POST"])])
    settings = uvicorn.Config(
        app, port=port, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    asyncio.run(_AnnouncingServer(settings).serve())


if __name__ == "__main__":
    serve_noop(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
