"""The receiver's web server without its loops: callbacks are stored, and nothing else happens.

`python -m bench.servers held` listens on a free loopback port, prints the port, and runs until it is stopped. With
`noop` it runs the server of `bench.bare` instead.
"""

import asyncio
import os
import sys

from bench.bare import serve_noop
from receiver import config
from receiver.service.wiring import open_parts
from receiver.web import app


def _print_port(port: int) -> None:
    print(port, flush=True)


async def serve_held() -> None:
    """Serve without the loops."""
    async with open_parts(config.load_settings(os.environ)) as parts:
        await app.serve(parts, host="127.0.0.1", port=0, stop=asyncio.Event(), ready=_print_port)


if __name__ == "__main__":
    if sys.argv[1] == "noop":
        serve_noop(0)
    else:
        asyncio.run(serve_held())
