"""What the pages cost: the gallery among a million tasks, what it sends, and a hundred open pages beside the callbacks.

`python -m bench --only pages`. The largest paint and the shift of the layout are measured if playwright and Debian's
Chromium are there, which the benchmarks' own environment does not have.
"""

import asyncio
import contextlib
import gzip
import http.client
import importlib.util
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

from bench.history import make_history, make_prompts
from bench.load import pack_requests
from bench.processes import port_of, resident_mb, start_module
from bench.samples import TableRow, fill_store, service_env, waiting_tasks
from bench.throughput import callback_requests, load_server
from receiver.core.types import Image, ImageCopy
from receiver.store import open_store

TASKS, PROMPTS = 1_000_000, 1_000
PAGE, PICTURES = 60, 4
REQUESTS = 300
STREAMS = 100
CALLBACKS = 10_000
ALTERNATIONS = 3
TOKEN = "bench-only-token-bench-only-token"  # noqa: S105 - opens nothing but this benchmark
_ENV = {"RECEIVER_API_TOKENS": TOKEN}


class _Visitor:
    """A browser's connection to the service, logged in."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookie = self._log_in()

    def _log_in(self) -> str:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self._http.request("POST", "/login", urlencode({"password": TOKEN}), form)
        answer = self._http.getresponse()
        answer.read()
        cookie = answer.getheader("set-cookie", "").partition(";")[0]
        if not cookie:
            raise SystemExit(f"logging in was answered {answer.status}")
        return cookie

    def get(self, path: str) -> bytes:
        """What a path answers, as it is sent: compressed."""
        headers = {"Cookie": self.cookie, "Accept": "text/html", "Accept-Encoding": "gzip"}
        self._http.request("GET", path, headers=headers)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} was answered {answer.status}")
        return content

    def time_page(self, path: str) -> tuple[float, float]:
        """The p50 and p95 of a page in milliseconds, from the request to the last byte."""
        took = []
        for number in range(REQUESTS + 10):
            began = time.perf_counter()
            self.get(path)
            if number >= 10:
                took.append((time.perf_counter() - began) * 1000)
        hundredths = statistics.quantiles(took, n=100)
        return hundredths[49], hundredths[94]


def rows() -> list[TableRow]:
    """The lines of the table."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        make_history(folder / "receiver.db", TASKS, prompts=PROMPTS)
        asyncio.run(_add_pictures(folder / "receiver.db"))
        with start_module("bench.servers", "held", env=service_env(folder, **_ENV)) as running:
            port = port_of(running)
            found = [*_measure_gallery(_Visitor(port)), *asyncio.run(_measure_paint(port))]
    return [*found, *_measure_streams()]


async def _add_pictures(path: Path) -> None:
    """Give the newest tasks the copies of four pictures, as they have in a real gallery."""
    store = await open_store(path)
    names = [(f"{it}.png", f"{it}.small.jpg", f"{it}.tiny.jpg") for it in range(PICTURES)]
    for task in await store.tasks.page(limit=PAGE):
        copies = [
            ImageCopy(number, file, bytes(32), 1_500_000, "image/png", 1024, 1024, small, tiny=tiny)
            for number, (file, small, tiny) in enumerate(names)
        ]
        images = [Image(it, f"https://cdn.example.com/{task.ref}/{it}.png") for it in range(1, PICTURES)]
        async with store.write() as tx:
            await tx.tasks.add_images([(task.ref, it) for it in images])
            await tx.copies.upsert([(task.ref, it) for it in copies])
    await store.close()


def _measure_gallery(visitor: _Visitor) -> list[TableRow]:
    page = visitor.get("/")
    sheet, script = (visitor.get(path) for path in _find_static(page))
    words = make_prompts(1)[0].split()[:2]
    pages = {"gallery of 60": "/", "failed ones": "/?show=failed", "search for two words": f"/?q={'+'.join(words)}"}
    found: list[TableRow] = []
    for name, path in pages.items():
        p50, p95 = visitor.time_page(path)
        found.append((f"{name}, at {TASKS:,} tasks, p50", f"{p50:.1f} ms", f"p95 {p95:.1f} ms, at most 30"))
    return [
        *found,
        ("gallery of 60, without its pictures", f"{len(page) / 1000:.1f} KB", "compressed; at most 60"),
        ("the style sheet", f"{len(sheet) / 1000:.1f} KB", "compressed; at most 10"),
        ("the script", f"{len(script) / 1000:.1f} KB", "compressed; at most 8"),
    ]


def _find_static(page: bytes) -> tuple[str, str]:
    paths = re.findall(r"/static/app\.[0-9a-f]+\.(?:css|js)", gzip.decompress(page).decode())
    [sheet, script] = sorted(paths, key=lambda path: path.endswith(".js"))
    return sheet, script


async def _measure_paint(port: int) -> list[TableRow]:
    """When the largest part of the gallery is painted, and how far the layout shifts: the median of five visits."""
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return []
    from playwright.async_api import async_playwright

    watch = """
      window.__found = { paint: 0, shift: 0 };
      new PerformanceObserver((list) => { for (const it of list.getEntries()) window.__found.paint = it.startTime; })
        .observe({ type: "largest-contentful-paint", buffered: true });
      new PerformanceObserver((list) => { for (const it of list.getEntries()) window.__found.shift += it.value; })
        .observe({ type: "layout-shift", buffered: true });
    """
    visits = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(5):
            context = await browser.new_context(viewport={"width": 1440, "height": 900})
            await context.add_init_script(watch)
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{port}/login")
            await page.fill("[name=password]", TOKEN)
            await page.click("main button")
            await page.goto(f"http://127.0.0.1:{port}/", wait_until="load")
            await page.wait_for_function("() => window.__found.paint > 0")
            visits.append(await page.evaluate("window.__found"))
            await context.close()
        await browser.close()
    paint = statistics.median(it["paint"] for it in visits)
    shift = max(it["shift"] for it in visits)
    return [("the gallery in Chromium, largest paint", f"{paint:.0f} ms", f"under 1,000; its layout shifts {shift:g}")]


# -- open pages --


def _measure_streams() -> list[TableRow]:
    """What a hundred open pages add in memory, and what they leave of the rate of callbacks."""
    alone, beside, added = [], [], []
    for _ in range(ALTERNATIONS):
        alone.append(_measure_ingest(0)[0])
        rate, more = _measure_ingest(STREAMS)
        beside.append(rate)
        added.append(more)
    ratio = statistics.median(mine / free for mine, free in zip(beside, alone, strict=True))
    rate = statistics.median(beside)
    return [
        (f"{STREAMS} open pages add", f"{statistics.median(added):.1f} MB", "at most 10"),
        (
            f"callbacks beside {STREAMS} open pages",
            f"{rate:,.0f} / s",
            f"{ratio:.2f} of the rate without; at least 0.95",
        ),
    ]


def _measure_ingest(streams: int) -> tuple[float, float]:
    """The rate of callbacks while so many pages are open, and the megabytes that these added before it."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        tasks = waiting_tasks(CALLBACKS)
        asyncio.run(fill_store(folder / "receiver.db", tasks))
        pack_requests(callback_requests(tasks), folder / "requests")
        with start_module("bench.servers", "held", env=service_env(folder, **_ENV)) as running:
            port = port_of(running)
            visitor = _Visitor(port)
            visitor.get("/")
            before = resident_mb(running.pid)
            with _open_streams(port, visitor.cookie, streams):
                added = resident_mb(running.pid) - before
                figures = load_server(port, folder / "requests")
    if figures["statuses"] != {"200": CALLBACKS}:
        raise SystemExit(f"the callbacks were answered {figures['statuses']}")
    return float(figures["rate"]), added


@contextlib.contextmanager
def _open_streams(port: int, cookie: str, count: int) -> Iterator[None]:
    """Keep so many streams open, and read all that they say, in a thread."""
    opened, done = threading.Event(), threading.Event()

    async def read() -> None:
        async with contextlib.AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(_open_stream(port, cookie)) for _ in range(count)]
            reading = [asyncio.create_task(_read_all(it)) for it in readers]
            opened.set()
            while not done.is_set():  # noqa: ASYNC110 - it is another thread's event
                await asyncio.sleep(0.05)
            for it in reading:
                it.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(read()))
    thread.start()
    opened.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.asynccontextmanager
async def _open_stream(port: int, cookie: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n".encode())
    await reader.readuntil(b"changes of tasks follow")
    try:
        yield reader
    finally:
        writer.close()


async def _read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(64 * 1024):
        pass
