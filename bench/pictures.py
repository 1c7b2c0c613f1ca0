"""What a contact sheet of four pictures of 2048 × 2048 pixels costs the child process that draws it.

`python -m bench.pictures` prints the lines. The pictures have grain like photographs, which makes a PNG slow to read.
Memory and CPU time are what the kernel counted for the child, including the start of Python.
"""

import json
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec import Struct
from PIL import Image, ImageChops

from bench.samples import TableRow
from receiver.pictures.drawing.process import CHILD
from receiver.pictures.drawing.protocol import DrawLimits

SIDE = 2048
COUNT = 4
RUNS = 5
MOST_S = 1.5
MOST_MB = 120

# A small process starts the child: the kernel counts the memory of the parent at the start as the child's.
_MEASURED = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=0, stdout=subprocess.PIPE, env={})
written = len(child.stdout.read())
_, status, used = os.wait4(child.pid, 0)
print(json.dumps({"status": status, "written": written, "cpu_s": used.ru_utime + used.ru_stime, "kb": used.ru_maxrss}))
"""


class DrawingCost(Struct, frozen=True):
    """The child's seconds of CPU and its peak of resident memory in megabytes."""

    cpu_s: float
    peak_mb: float


def measure_sheet() -> DrawingCost:
    """Draw one contact sheet and measure it."""
    with tempfile.TemporaryDirectory() as name:
        return _measure_child(_make_pictures(Path(name)))


def rows() -> list[TableRow]:
    """The lines of the table: the median CPU time of some runs, and the highest memory of any."""
    with tempfile.TemporaryDirectory() as name:
        paths = _make_pictures(Path(name))
        costs = sorted((_measure_child(paths) for _ in range(RUNS)), key=lambda it: it.cpu_s)
    middle = costs[RUNS // 2]
    what = f"contact sheet of four {SIDE}² pictures"
    return [
        (f"{what}: CPU time of the child", f"{middle.cpu_s:.2f} s", f"at most {MOST_S}"),
        (f"{what}: its memory", f"{max(it.peak_mb for it in costs):.0f} MB", f"its peak; at most {MOST_MB}"),
    ]


def _measure_child(paths: list[Path]) -> DrawingCost:
    task = {"limits": DrawLimits(), "pictures": [(str(at), str(path)) for at, path in enumerate(paths)]}
    ran = subprocess.run(
        [sys.executable, "-I", "-c", _MEASURED, *CHILD],
        input=json.dumps(task).encode(),
        capture_output=True,
        check=True,
    )
    result = json.loads(ran.stdout)
    if result["status"] or result["written"] < 100_000:
        raise SystemExit(f"the child drew nothing: {result}")
    return DrawingCost(result["cpu_s"], result["kb"] / 1024)


def _make_pictures(folder: Path) -> list[Path]:
    """Create the picture files: soft colours under grain, each different."""
    grain = Image.frombytes("L", (SIDE // 2,) * 2, random.Random(1).randbytes((SIDE // 2) ** 2)).resize((SIDE, SIDE))
    grain = grain.point([128 + (value - 128) // 8 for value in range(256)])
    paths = []
    for at in range(COUNT):
        bands = []
        for band in range(3):
            little = Image.new("L", (64, 64))
            little.putdata([round(128 + 90 * _wave_at(spot % 64, spot // 64, at, band)) for spot in range(64 * 64)])
            soft = little.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            bands.append(ImageChops.add(soft, ImageChops.offset(grain, at * 31, at * 17), 1, -128))
        paths.append(folder / f"{at}.png")
        Image.merge("RGB", bands).save(paths[-1], compress_level=3)
    return paths


def _wave_at(x: int, y: int, at: int, band: int) -> float:
    return math.sin(x / 19 + at + band) * math.cos(y / 23 - band)


if __name__ == "__main__":
    for row in rows():
        print(f"| {' | '.join(row)} |")
