"""`receiver demo`: shows the main job end to end, without an account or a key.

Only the provider and Slack are faked. The service is what `receiver serve` runs, on loopback and in a temporary
directory. The sandbox stands in for the provider, scripted to go wrong in four ways, and a small inbox for Slack.
"""

import asyncio
import json
import logging
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from receiver import config, sandbox
from receiver.cli.demo_inbox import DemoPing, frame_ping, open_inbox
from receiver.cli.main import DONE, FAILED, INTERRUPTED
from receiver.cli.output import format_table
from receiver.cli.serve import first_error, run_service, stop_on_signals
from receiver.cli.streams import echo, note
from receiver.client.client import ENDS, Client
from receiver.client.schemas import NewTask, TaskView
from receiver.config import Settings
from receiver.core.types import TaskState
from receiver.passwords import hash_password
from receiver.providers.models import OUTPAINT
from receiver.sandbox import Fate, SandboxOptions
from receiver.telemetry import logs

WITHIN_S = 60  # for every ping to arrive, or the demo has failed; and for the copies of the pictures
LATENCY_S = 2.0  # how long the sandbox takes for a generation, ± 50 %
SWEEP_S = 4  # a callback is overdue after this; 120 by default
LOOK_S = 0.1
TARGET = "phone"
PASSWORD = "demo-demo"  # noqa: S105 - of a gallery on loopback that goes with the demo


class DemoScene(Struct, frozen=True):
    """One outpaint of the demo: its label, its prompt, what goes wrong, and that in words."""

    label: str
    prompt: str
    fate: Fate
    words: str


SCENES = (
    DemoScene("harbour", "the harbour at dawn, fishing boats beyond the pier", Fate.COMPLETES, "all goes well"),
    DemoScene("meadow", "more of the meadow, poppies up to the treeline", Fate.DUPLICATED, "the callback comes twice"),
    DemoScene("canyon", "the canyon from further back", Fate.FAILS, "the provider fails"),
    DemoScene("lantern", "the alley around the lantern, wet cobbles", Fate.EARLY, "the callback overtakes the answer"),
    DemoScene("orchard", "the orchard in the evening, a cart in the grass", Fate.DROPPED, "the callback is lost"),
)


@click.command()
@click.option("--once", is_flag=True, help=f"End when every ping has arrived; status 1 if not within {WITHIN_S} s.")
def demo(*, once: bool) -> None:
    """Show it all working: submissions, callbacks and pings, without an account or a key."""
    raise click.exceptions.Exit(asyncio.run(_run_demo(once=once)))


async def _run_demo(*, once: bool) -> int:
    """Start service, sandbox and inbox, play the scenes, and clean up. Returns the exit status."""
    script = tuple(scene.fate for scene in SCENES)
    stop = asyncio.Event()
    up: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with stop_on_signals(stop), tempfile.TemporaryDirectory(prefix="receiver-demo-") as directory:
        listener = _free_listener()
        port = listener.getsockname()[1]
        async with (
            sandbox.open_sandbox(SandboxOptions(latency_s=LATENCY_S, script=script)) as provider,
            open_inbox() as (url, pings),
        ):
            settings = _demo_settings(Path(directory), provider.url, url, port)
            logs.setup_logging(sys.stderr, tty=True, level=logging.WARNING, secrets=config.secret_values(settings))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(run_service(settings, stop, listener, ready=up.set_result))
                    await up
                    with Client(settings.public_url, config.local_token(settings)) as client:
                        status = await _run_until(stop, _play_scenes(_DemoStage(client, pings), settings, once=once))
                    stop.set()
            except BaseExceptionGroup as several:
                raise first_error(several) from None
            return (INTERRUPTED if once else DONE) if status is None else status


async def _run_until(stop: asyncio.Event, playing: Coroutine[Any, Any, int]) -> int | None:
    """The result of `playing`, or None if `stop` is set first."""
    play, stopped = asyncio.ensure_future(playing), asyncio.ensure_future(stop.wait())
    await asyncio.wait({play, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if play.done():
        return play.result()
    play.cancel()
    await asyncio.wait({play})
    return None


def _free_listener() -> socket.socket:
    """A socket on a free port, opened before the service starts, because its callback URLs contain the port."""
    # IPPROTO_TCP is explicit, or asyncio does not set TCP_NODELAY on connections and each answer takes 40 ms longer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def _demo_settings(directory: Path, provider: str, inbox_url: str, port: int) -> Settings:
    """The settings from an ordinary receiver.toml, without the user's environment."""
    lines = {
        "public_url": f"http://127.0.0.1:{port}",
        "database_url": f"sqlite:///{directory}/receiver.db",
        "provider_url": f"{provider}/model/v1/generation",
        "provider_key": "demo-key-of-the-sandbox",
        "sweep_first": SWEEP_S,
        "fetch_allow": "127.0.0.1",  # the sandbox's pictures; those of a real provider are on public addresses
    }
    lines["password_hash"] = hash_password(PASSWORD)
    file = directory / "receiver.toml"
    target = f"\n[targets.{TARGET}]\nurl = {json.dumps(inbox_url)}\n"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()) + target)
    return config.load_settings({}, file)


class _DemoStage:
    """What is seen of the service from outside: its API, which is polled, and the pings."""

    def __init__(self, client: Client, pings: "asyncio.Queue[DemoPing]") -> None:
        self._client = client
        self._pings = pings
        self._began = time.monotonic()
        self._seen: dict[str, str] = {}
        self.pinged: Counter[str] = Counter()  # labels

    def print_line(self, who: str, text: str) -> None:
        """Print one line of what happens."""
        since = click.style(f"{time.monotonic() - self._began:5.1f} s", dim=True)
        echo(f" {since}  {click.style(f'{who:<9}', bold=True)} {text}")

    async def submit_scene(self, scene: DemoScene) -> None:
        """Submit a scene, and wait until the provider has it, so that each scene gets its own fate."""
        params = {"jobId": f"job-of-{scene.label}", "imageNo": 0, "scale": 1.5, "remixPrompt": scene.prompt}
        asked = NewTask(model=OUTPAINT, params=params, label=scene.label)
        task = await asyncio.to_thread(self._client.create_task, asked)
        self.print_line("you", f"submit {scene.label}: {scene.words}")
        while self._seen.get(task.ref, TaskState.QUEUED) in (TaskState.QUEUED, TaskState.SUBMITTING):
            await self.print_changes()

    async def print_changes(self) -> None:
        """Print what has changed since the last call, pings after the changes that they report."""
        came = [self._pings.get_nowait() for _ in range(self._pings.qsize())]
        if not came:
            await asyncio.sleep(LOOK_S)
        for task in reversed(await self.list_tasks()):
            if task.state != self._seen.get(task.ref):
                self._print_change(task)
                self._seen[task.ref] = task.state
        for ping in came:
            self.pinged.update(scene.label for scene in SCENES if scene.label in ping.title)
            self.print_line("ping", f"to {TARGET}")
            echo(frame_ping(ping) + "\n")

    async def list_tasks(self) -> list[TaskView]:
        """All tasks, newest first."""
        return (await asyncio.to_thread(self._client.list_tasks)).tasks

    async def list_verdicts(self, ref: str) -> str:
        """What became of a task's callbacks, oldest first."""
        page = await asyncio.to_thread(lambda: self._client.list_callbacks(ref=ref))
        return ", ".join(it.verdict for it in reversed(page.callbacks)) or "none came"

    def _print_change(self, task: TaskView) -> None:
        if task.state == TaskState.WAITING:
            self.print_line("provider", f"accepts {task.label} as {task.task_id}")
        if task.state in ENDS and task.settled_by == "poll":
            self.print_line("receiver", f"gets no callback for {task.label} in {SWEEP_S} s, so it polls: {task.state}")
        elif task.state in ENDS:
            self.print_line("provider", f"calls back about {task.label}: {task.state}")


async def _play_scenes(stage: _DemoStage, settings: Settings, *, once: bool) -> int:
    _print_introduction(settings)
    for scene in SCENES:
        await stage.submit_scene(scene)
    stage.print_line("you", "close the laptop")
    try:
        async with asyncio.timeout(WITHIN_S):
            while missing := {scene.label for scene in SCENES} - stage.pinged.keys():
                await stage.print_changes()
    except TimeoutError:
        note(f"receiver: no ping arrived within {WITHIN_S} s for {', '.join(sorted(missing))}")
        return FAILED
    await _print_summary(stage)
    if not once:
        _print_invitation(settings)
        await asyncio.get_running_loop().create_future()  # until Ctrl-C
    return DONE


def _print_introduction(settings: Settings) -> None:
    provider = settings.provider_url.partition("/model")[0]
    echo("\nYou submit five outpaints and close the laptop. Four go wrong in some way.\n")
    echo(f"  service   {settings.public_url}  `receiver serve`, in a temporary directory")
    echo(f"  provider  {provider}  the sandbox: no account, no key, no bill")
    echo(f"  gallery   {settings.public_url}  in a browser; its password is {PASSWORD}")
    echo("  pings     an inbox on loopback, where Slack, email or ntfy could be\n")


async def _tasks_with_copies(stage: _DemoStage) -> list[TaskView]:
    """The tasks, oldest first, once their pictures are copied, or after `WITHIN_S`."""
    until = time.monotonic() + WITHIN_S
    while True:
        tasks = (await stage.list_tasks())[::-1]
        if all(image.archived for task in tasks for image in task.images) or time.monotonic() > until:
            return tasks
        await asyncio.sleep(LOOK_S)


async def _print_summary(stage: _DemoStage) -> None:
    rows = []
    for task in await _tasks_with_copies(stage):
        pings = ", ".join(notice.state for notice in task.notices)
        rows.append(
            (
                task.label or "",
                task.state,
                task.settled_by or "",
                await stage.list_verdicts(task.ref),
                str(task.polls),
                pings,
                f"{sum(image.archived is not None for image in task.images)} of {len(task.images)}",
            )
        )
    echo(format_table(("TASK", "STATE", "SETTLED BY", "CALLBACKS", "POLLS", "PING", "PICTURES KEPT"), rows, right=(4,)))
    once = ", each once" if max(stage.pinged.values()) == 1 else ""
    echo(f"\nEvery ping has arrived{once}.")


def _print_invitation(settings: Settings) -> None:
    token = config.local_token(settings)
    command = sys.argv[0] if Path(sys.argv[0]).name == "receiver" else f"{sys.executable} -m receiver"
    echo("\nIt stays up until Ctrl-C, and leaves nothing behind. In a browser:\n")
    echo(f"  the gallery   {settings.public_url}")
    echo(f"  its password  {PASSWORD}")
    echo("\nIn another terminal:\n")
    echo(f"  export RECEIVER_SERVER={settings.public_url}")
    echo(f"  export RECEIVER_API_TOKEN={token}")
    echo(f"  {command} tasks list")
    echo("  curl --oauth2-bearer $RECEIVER_API_TOKEN $RECEIVER_SERVER/api/v1/tasks")
    echo(f"\nThe copies of the pictures, and each task's contact sheet: {settings.state_dir}/images\n")
