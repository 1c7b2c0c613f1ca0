"""The kit's programs, each in a process of its own, forked from one that has imported them: a start costs nothing.

That one is `python -m kit.programs`, in `tests`. For each line with a module and its arguments, as JSON, it forks,
calls the module's `run` in the new process, and says how that ended. A module may have a `prepare` that is called once,
before the first fork.
"""

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from typing import Any

from kit.commands import TESTS


class Programs:
    """Starts them, one at a time."""

    def __init__(self) -> None:
        self._parent: subprocess.Popen[str] | None = None

    async def run(self, module: str, *words: str) -> int:
        """Run it to its end: its exit status, or minus the signal's number if one ended it. If the caller gives up, all
        of them are killed."""
        try:
            return await asyncio.to_thread(self._run, module, *words)
        except asyncio.CancelledError:
            if self._parent is not None:
                os.killpg(self._parent.pid, signal.SIGKILL)
                self._parent = None
            raise

    def _run(self, module: str, *words: str) -> int:
        if self._parent is None:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "kit.programs"],
                cwd=TESTS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        parent = self._parent
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(json.dumps([module, *words]) + "\n")
        parent.stdin.flush()
        return int(parent.stdout.readline() or -signal.SIGKILL)

    def close(self) -> None:
        """End the one they are forked from."""
        if self._parent is not None:
            self._parent.communicate()


def run_alone(program: Any, words: list[str]) -> None:
    """Run it in this process, which was forked for it. Threads of its own do not keep the process from ending."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    try:
        program.run(words)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    prepared = set()
    for line in sys.stdin:
        module, *words = json.loads(line)
        program = importlib.import_module(module)
        if module not in prepared and hasattr(program, "prepare"):
            program.prepare()
        prepared.add(module)
        number = os.fork()
        if number == 0:
            run_alone(program, words)
        _, status = os.waitpid(number, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
