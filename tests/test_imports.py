"""The frame of design §3, read from the imports: arrows point down, and each outside library has its rooms."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
RECEIVER = HOME / "receiver"
LINES_MOST = 400

# Design §3, with the rooms that came later. A room may import only from levels below its own.
LEVELS = {
    "model errors": 0.0,
    "disk": 0.5,
    "config logs tokens schedule messages parameters metrics views later pacing limits": 1.0,
    "providers store files senders decide pictures links": 2.0,
    "settle sheets strays": 3.0,
    "submit ingest sweep notify archive prune intake upkeep": 4.0,
    "wiring": 4.5,
    "web worker client checks": 5.0,
    "cli": 6.0,
}
LEVEL = {room: level for rooms, level in LEVELS.items() for room in rooms.split()}
APART = {"sandbox": {"parameters"}}  # uses this and nothing else of ours
ONLY_STANDARD = {"model", "errors"}

# Which rooms may import what from outside.
OUTSIDE = {
    "aiosqlite": {"store"},
    "sqlite3": {"store"},
    "asyncpg": {"store"},
    "apprise": {"senders"},
    "starlette": {"web", "sandbox"},
    "uvicorn": {"web", "sandbox"},
    "httpx": {"providers", "archive", "client", "sandbox", "checks"},
    "click": {"cli"},
    "prometheus_client": {"metrics"},
    "PIL": {"pictures", "sandbox"},
    "jinja2": {"messages"},
}
_SQL = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "PRAGMA ", "CREATE TABLE ")


def sources() -> list[Path]:
    return sorted(path for path in RECEIVER.rglob("*.py") if path != RECEIVER / "__init__.py")


def room(path: Path) -> str:
    parts = path.relative_to(RECEIVER).parts
    return "cli" if parts[0] == "__main__.py" else parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Pairs of (library, room of ours or "") that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [it.name for it in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = (
                [f"{node.module}.{it.name}" for it in node.names] if node.module == "receiver" else [node.module or ""]
            )
        else:
            continue
        for name in names:
            library, _, rest = name.partition(".")
            yield library, rest.partition(".")[0] if library == "receiver" else ""


def ours(path: Path) -> set[str]:
    return {it for library, it in imported(path) if library == "receiver" and it != "__version__"} - {room(path)}


@pytest.mark.parametrize("path", sources(), ids=lambda it: str(it.relative_to(HOME)))
def test_arrows_point_down(path: Path) -> None:
    here = room(path)
    if here in APART:
        assert ours(path) <= APART[here]
        return
    assert here in LEVEL, f"which level is {here} on? see design §3"
    # The commands start the sandbox, which is a program of its own.
    above = {it for it in ours(path) if LEVEL.get(it, 99) >= LEVEL[here] and not (here == "cli" and it in APART)}
    assert not above, f"{here} imports {', '.join(sorted(above))}, which is not below it"


@pytest.mark.parametrize("path", sources(), ids=lambda it: str(it.relative_to(HOME)))
def test_each_library_stays_in_its_rooms(path: Path) -> None:
    used = {library for library, _ in imported(path)}
    astray = {it for it in used if it in OUTSIDE and room(path) not in OUTSIDE[it]}
    assert not astray, f"{room(path)} imports {', '.join(sorted(astray))}"


@pytest.mark.parametrize("name", sorted(ONLY_STANDARD))
def test_the_words_need_nothing_but_msgspec(name: str) -> None:
    files = [path for path in sources() if room(path) == name]
    used = {library for path in files for library, _ in imported(path)} - {"receiver"}
    assert files
    assert not any(ours(path) for path in files)
    assert used <= {*sys.stdlib_module_names, "msgspec"} - {"asyncio", "socket", "pathlib", "os"}


@pytest.mark.parametrize("path", sources(), ids=lambda it: str(it.relative_to(HOME)))
def test_only_the_store_holds_sql(path: Path) -> None:
    if room(path) == "store":
        return
    texts = [it.value for it in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(it, ast.Constant)]
    assert not [it for it in texts if isinstance(it, str) and it.lstrip().startswith(_SQL)]


def test_only_wiring_and_the_commands_read_settings() -> None:
    readers = {room(it) for it in sources() if "config" in ours(it)}
    assert readers <= {"wiring", "cli"}


def test_no_file_is_longer_than_it_may_be() -> None:
    files = [*RECEIVER.rglob("*.py"), *(HOME / "tests").rglob("*.py")]
    lengths = {str(it.relative_to(HOME)): len(it.read_text("utf-8").splitlines()) for it in files}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MOST} == {}
