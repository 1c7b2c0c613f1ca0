"""A contact sheet of four pictures of 2048 × 2048 pixels: what the child that draws it costs.

`python -m bench.pictures` prints the lines. The pictures have the grain of photographs, which is what makes a PNG slow
to read. Memory and CPU time are those that the kernel counted for the child, start of Python and all.
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

# A process of its own starts the child: the kernel counts the memory of whoever starts a process as that process's.
_MEASURED = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=0, stdout=subprocess.PIPE, env={})
written = len(child.stdout.read())
_, status, used = os.wait4(child.pid, 0)
print(json.dumps({"status": status, "written": written, "cpu_s": used.ru_utime + used.ru_stime, "kb": used.ru_maxrss}))
"""


class DrawingCost(Struct, frozen=True):
    """Seconds of CPU and megabytes of resident memory at the peak, of the child."""

    cpu_s: float
    peak_mb: float


def measure_sheet() -> DrawingCost:
    """One contact sheet."""
    with tempfile.TemporaryDirectory() as name:
        return _measure_child(_make_pictures(Path(name)))


def rows() -> list[TableRow]:
    """The lines of the table: the median of some runs, and the most memory of any."""
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
    told = json.loads(ran.stdout)
    if told["status"] or told["written"] < 100_000:
        raise SystemExit(f"the child drew nothing: {told}")
    return DrawingCost(told["cpu_s"], told["kb"] / 1024)


def _make_pictures(folder: Path) -> list[Path]:
    """The files: soft colours under grain, each another."""
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
