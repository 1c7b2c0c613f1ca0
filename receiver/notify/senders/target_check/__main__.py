"""The child: reads targets' URLs from standard input, and writes a line for each: what is wrong with it, or null."""

import sys

import msgspec

from receiver.core.types import Target
from receiver.notify.senders.sender import check_target

for url in msgspec.json.decode(sys.stdin.buffer.read(), type=list[str]):
    fault = check_target(Target(name="target", url=url))
    line = (fault.problem, fault.remedy) if fault else None
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()
