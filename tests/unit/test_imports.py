"""The structure, read from the imports: arrows point down, each outside library has its rooms, no file is long."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).parents[2]
RECEIVER = HOME / "receiver"
LINES_MOST = 400

# A wing may import only from wings on levels below its own; see CONTRIBUTING.md.
LEVELS = {
    0.0: "core lazy",
    0.5: "tokens passwords atomic_files safe_open apprise_schemes clocks",
    1.0: "config telemetry providers client",
    2.0: "store",
    3.0: "notify",
    4.0: "tasks pictures",
    5.0: "upkeep",
    6.0: "service",
    7.0: "web",
    8.0: "cli",
}
LEVEL = {wing: level for level, wings in LEVELS.items() for wing in wings.split()}
APART = {"sandbox": {"providers", "core"}}  # a program of its own, which uses these and nothing else of ours

# Which places may import what from outside: a wing, or a room of one.
OUTSIDE = {
    "aiosqlite": {"store/sqlite"},
    "sqlite3": {"store/sqlite"},
    "asyncpg": {"store/postgres"},
    "apprise": {"notify/senders"},
    "starlette": {"web", "sandbox"},
    "uvicorn": {"web/http", "sandbox"},
    "httpx": {"providers", "pictures/fetch", "client", "sandbox", "upkeep/doctor"},
    "click": {"cli"},
    "prometheus_client": {"telemetry"},
    "PIL": {"pictures/drawing", "sandbox"},
    "argon2": {"passwords"},
    "jinja2": {"notify/messages", "web/pages"},
}
# What core/types and core/errors may use: the standard library without what acts, and msgspec.
WORDS = {*sys.stdlib_module_names, "msgspec"} - {"asyncio", "socket", "pathlib", "os"}
_SQL = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "PRAGMA ", "CREATE TABLE ")


def sources() -> list[Path]:
    return sorted(RECEIVER.rglob("*.py"))


def place(path: Path) -> str:
    """Where a file is, without its ending: `store/sqlite/engine`."""
    return path.relative_to(RECEIVER).with_suffix("").as_posix()


def wing(path: Path) -> str:
    return {"__main__": "cli", "__init__": "core"}.get(place(path), place(path).partition("/")[0])


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Pairs of (library, wing of ours or "") that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [it.name for it in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{it.name}" for it in node.names]
        else:
            continue
        for name in names:
            library, _, rest = name.partition(".")
            inside = rest.partition(".")[0] if library == "receiver" else ""
            yield library, "" if inside == "__version__" else inside


def wings_used(path: Path) -> set[str]:
    return {it for _, it in imported(path) if it} - {wing(path)}


def test_a_wing_imports_only_from_below() -> None:
    wrong = []
    for path in sources():
        here = wing(path)
        if here in APART:
            above = wings_used(path) - APART[here]
        else:
            assert here in LEVEL, f"on which level is {here}? See CONTRIBUTING.md"
            # the commands start the sandbox
            above = {
                it
                for it in wings_used(path)
                if LEVEL.get(it, 99) >= LEVEL[here] and not (here == "cli" and it in APART)
            }
        wrong += [f"{place(path)} imports {it}, which is not below it" for it in sorted(above)]
    assert wrong == []
    assert {wing(path) for path in sources()} == {*LEVEL, *APART}


def test_each_library_and_sql_stay_in_their_rooms() -> None:
    wrong = []
    for path in sources():
        here = place(path)
        for library in {it for it, _ in imported(path)} & OUTSIDE.keys():
            if not any(f"{here}/".startswith(f"{room}/") for room in OUTSIDE[library]):
                wrong += [f"{here} imports {library}"]
        if here.startswith("core/types/") or here == "core/errors":
            wrong += [f"{here} imports {it}" for it, _ in imported(path) if it not in {*WORDS, "receiver"}]
            wrong += [f"{here} imports {it}" for it in wings_used(path)]
        if wing(path) != "store":
            texts = [it.value for it in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(it, ast.Constant)]
            wrong += [f"{here} holds SQL: {it}" for it in texts if isinstance(it, str) and it.lstrip().startswith(_SQL)]
    assert wrong == []
    readers = {wing(path) for path in sources() if "config" in wings_used(path)}
    assert readers <= {"service", "cli"}  # settings reach every other wing as arguments


def test_no_file_is_long_and_no_init_thinks() -> None:
    files = [*RECEIVER.rglob("*.py"), *(HOME / "tests").rglob("*.py")]
    lengths = {str(it.relative_to(HOME)): len(it.read_text("utf-8").splitlines()) for it in files}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MOST} == {}
    handing_on = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)  # imports, __all__ and the docstring
    thinking = [
        place(path)
        for path in RECEIVER.rglob("__init__.py")
        if not all(isinstance(it, handing_on) for it in ast.parse(path.read_text("utf-8")).body)
    ]
    assert thinking == []
