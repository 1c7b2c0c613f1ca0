"""The receiver's web with its sends held back: callbacks are stored, and nothing else happens.

`python -m bench.servers held` listens on a free port of loopback, prints the port, and runs until it is ended; with
`noop` it is `bench.bare`.
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
    """The receiver without its loops."""
    async with open_parts(config.load_settings(os.environ)) as parts:
        await app.serve(parts, host="127.0.0.1", port=0, stop=asyncio.Event(), ready=_print_port)


if __name__ == "__main__":
    if sys.argv[1] == "noop":
        serve_noop(0)
    else:
        asyncio.run(serve_held())
