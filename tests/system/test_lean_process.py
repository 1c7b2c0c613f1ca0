"""The process and its notifications: it starts without Apprise and Jinja2, and ends without waiting for a target."""

import subprocess
import sys

from kit.live_service import PATIENCE_S


def test_apprise_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, receiver.notify.senders.sender as s; s.AppriseSender(); sys.exit('apprise' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_abandoned_thread_does_not_keep_the_process() -> None:
    """The subprocess ends by itself, though a thread of its still waits on a socket that never answers."""
    code = (
        "import asyncio, socket\n"
        "from receiver.notify.messages.message import *; from receiver.core.types import Target\n"
        "from receiver.notify.senders.sender import *; trap = socket.create_server(('127.0.0.1', 0))\n"
        "target = Target(name='t', url='json://127.0.0.1:%d?rto=600' % trap.getsockname()[1])\n"
        "check_target(target); message = Message('t', 'b', BodyFormat.TEXT, MessageKind.INFO)\n"
        "print(asyncio.run(AppriseSender(timeout_s=0.3).send(target, message)).error)\n"
    )

    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=PATIENCE_S)

    assert ended.stdout.startswith("not finished within")
    assert ended.stderr == ""


def test_jinja2_is_not_imported_before_there_is_a_template() -> None:
    code = (
        "import sys; from receiver.notify.messages.render import render; from receiver.core.types import *\n"
        "render((Report(event=NoticeEvent.LOST),), Target(name='t', url='x'))\n"
        "sys.exit('jinja2' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_S).returncode == 0


def test_a_send_loads_only_the_part_of_apprise_that_serves_it() -> None:
    """All 180 take 10 MB and a third of a second."""
    code = (
        "import sys; from receiver.core.types import Target; from receiver.notify.senders.sender import check_target\n"
        "check_target(Target(name='t', url='jsons://hooks.example/x?rto=5'))\n"
        "print(sorted(it for it in sys.modules if it.startswith('apprise.plugins.') and it.count('.') == 2))"
    )

    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=PATIENCE_S)

    assert ended.stdout == "['apprise.plugins.base', 'apprise.plugins.custom_json']\n"
