"""Mutation testing (`make mutants`): changes one expression at a time and counts the changes that unit tests notice.

cosmic-ray makes the changes, in copies of the tree below .mutants/. modules.toml says which tests answer for which
module. equivalent.toml lists the changes that make no difference, each with its reason; if any other change goes
unnoticed, the run fails. Words given as arguments select the modules whose path contains one of them.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COPIES = ROOT / ".mutants"
PYTEST = (sys.executable, "-m", "pytest", "-q", "-x", "--tb=no")
# conftest.py costs more than these tests themselves; `ci` is Hypothesis's own profile of the same settings.
PLUGINS = ("--noconftest", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin", "--hypothesis-profile=ci")
TIMEOUT_S = 60  # ends the tests of a change that makes a loop endless; it counts as noticed

# A comparison turned or moved by one, a condition negated, a branch swapped, a number one more or less, a sum made a
# difference. The other operators of cosmic-ray change annotations, or make changes that nobody makes by mistake.
OPERATORS = (
    "NumberReplacer|AddNot|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd|"
    "ReplaceBreakWithContinue|ReplaceContinueWithBreak|ExceptionReplacer|RemoveDecorator|ZeroIterationForLoop|"
    "ReplaceUnaryOperator_Delete_.*|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|Lt_LtE|Lt_GtE|"
    "LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt)|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_FloorDiv|Div_Mul|"
    "FloorDiv_Mul|Mod_FloorDiv|Pow_Mul|LShift_RShift|RShift_LShift|BitAnd_BitOr)"
)


class Change(NamedTuple):
    """The changed line before and after, without a comment at its end."""

    was: str
    becomes: str


class ModuleResult(NamedTuple):
    """How many changes were made to a module, and which of them its tests did not notice."""

    module: str
    changes: int
    unnoticed: list[Change]


def main(words: list[str]) -> int:
    """Tries the selected modules, one for each processor at a time. Returns 1 if a change went unnoticed, else 0."""
    tests: dict[str, list[str]] = _read_table("modules.toml")["tests"]
    modules = [it for it in tests if not words or any(word in it for word in words)]
    modules.sort(key=lambda it: -sum(file.stat().st_size for file in _module_files(ROOT, it)))  # the longest first
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda it: _try_module(it, tests[it]), modules))
    missed = sum(_print_result(it) for it in sorted(results))
    return 1 if missed else 0


def _read_table(name: str) -> dict[str, Any]:
    return tomllib.loads((HERE / name).read_text("utf-8"))


def _module_files(root: Path, module: str) -> list[Path]:
    path = root / "receiver" / module
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _try_module(module: str, tests: list[str]) -> ModuleResult:
    """Makes every change to `module` in a copy of the tree, and runs `tests` after each."""
    copy = COPIES / module.removesuffix(".py").replace("/", "-")
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for part in ("receiver", "tests"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", copy)
    command = [*PYTEST, *PLUGINS, *(f"tests/unit/{it}" for it in tests)]
    _run(command, copy)  # unchanged, they pass; and what they import is compiled once
    (copy / "session.toml").write_text(
        "[cosmic-ray]\n"
        f"module-path = {json.dumps([str(it.relative_to(copy)) for it in _module_files(copy, module)])}\n"
        f"test-command = {json.dumps(' '.join(command))}\n"
        f"timeout = {TIMEOUT_S}\n"
        'excluded-modules = []\ndistributor = { name = "local" }\n'
        f"filters = {{ operators-filter = {{ exclude-operators = ['core/(?!({OPERATORS})$)'] }} }}\n"
    )
    tool = Path(sys.executable).parent
    _run([str(tool / "cosmic-ray"), "init", "session.toml", "session.db"], copy)
    _run([str(tool / "cr-filter-operators"), "session.db", "session.toml"], copy)
    _run([str(tool / "cosmic-ray"), "exec", "session.toml", "session.db"], copy)
    result = _read_session(module, copy / "session.db")
    print(f"{module}: {result.changes} changes tried, {len(result.unnoticed)} unnoticed", flush=True)
    return result


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _read_session(module: str, session: Path) -> ModuleResult:
    with contextlib.closing(sqlite3.connect(session)) as db:
        rows = db.execute(
            "SELECT test_outcome, diff FROM work_results"
            " WHERE worker_outcome = 'NORMAL' AND output NOT LIKE '%SyntaxError%'"  # that is not a change to a program
        ).fetchall()
    return ModuleResult(
        module, len(rows), sorted(_read_change(diff) for outcome, diff in rows if outcome == "SURVIVED")
    )


def _read_change(diff: str) -> Change:
    def lines(sign: str) -> Iterator[str]:
        changed = (it[1:] for it in diff.split("\n") if it.startswith(sign) and not it.startswith(sign * 3))
        return (it.partition("  # ")[0].strip() for it in changed)

    return Change(" ".join(lines("-")), " ".join(lines("+")))


def _print_result(result: ModuleResult) -> int:
    """Prints the module's line of the table and what to look at. Returns how many changes its tests should notice."""
    known = {Change(it["was"], it["becomes"]) for it in _read_table("equivalent.toml").get(result.module, [])}
    missed = [it for it in result.unnoticed if it not in known]
    noticed, equivalent = result.changes - len(result.unnoticed), len(result.unnoticed) - len(missed)
    counts = f"{result.changes:5} changes{noticed:5} noticed{equivalent:4} equivalent{len(missed):4} missed"
    print(f"{result.module:32}{counts}")
    for was, becomes in missed:
        print(f"    - {was}\n    + {becomes}")
    for was, becomes in known - set(result.unnoticed):
        print(f"    listed as equivalent, but noticed or gone: {was}  ->  {becomes}")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
