"""systemd/monitoring: the alert rules do what they say, and rules and dashboard name nothing that /metrics has not."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kit.live_service import PATIENCE_S
from kit.web import BEARER, opened
from receiver.web.app import create_app

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
MONITORING = HERE.parents[1] / "systemd" / "monitoring"
RULES, DASHBOARD = MONITORING / "alerts.yml", MONITORING / "grafana.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here; Debian's package prometheus has it")

_SELECTED = re.compile(r"\b((?:receiver|process)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(!?=~?)\s*"([^"]*)"')
_SCRAPED = ("job", "instance")  # added by Prometheus


def promtool(*words: str) -> str:
    """What it prints; fails if it does."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exprs() -> Iterator[str]:
    """Every expression of the dashboard, with Grafana's variables filled in, as it would."""

    def found(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("expr"), str):
                yield node["expr"]
            for value in node.values():
                yield from found(value)
        elif isinstance(node, list):
            for value in node:
                yield from found(value)

    for expr in found(json.loads(DASHBOARD.read_text())):
        yield expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$job", ".*")


def rules() -> list[str]:
    """Every expression of the rules."""
    text = RULES.read_text()
    return re.findall(r"^ +expr: (?:\|\n)?((?:.|\n)*?)(?=^ +(?:for|labels):)", text, re.MULTILINE)


@needs_promtool
def test_the_rules_are_rules() -> None:
    """As Prometheus itself reads them."""
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


@needs_promtool
def test_every_rule_fires_when_it_should_and_an_ordinary_day_is_quiet() -> None:
    """tests/system/alerts_test.yml says when that is; it names every rule."""
    cases = HERE / "alerts_test.yml"
    assert "SUCCESS" in promtool("test", "rules", str(cases))
    named = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    assert named == set(re.findall(r"Receiver[A-Z]\w+", cases.read_text()))


@needs_promtool
def test_every_expression_of_the_dashboard_can_be_evaluated(tmp_path: Path) -> None:
    """PromQL as Prometheus reads it."""
    listed = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(exprs())]
    assert len(listed) > 20
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": listed}]}))
    promtool("check", "rules", str(tmp_path / "rules.json"))


async def test_what_rules_and_dashboard_name_is_there_from_the_first_scrape_on(tmp_path: Path) -> None:
    """Names, labels, and values of labels: a rule with a slip in it would keep quiet for ever."""
    there: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    async with opened(tmp_path) as parts:
        transport = httpx.ASGITransport(app=create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            text = (await client.get("/metrics", headers=BEARER)).text
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            seen = there[name]  # it is there though it may have no label
            for label, _, value in _MATCHER.findall(labels):
                seen[label].add(value)
    assert len(there) > 15
    found = list(exprs())
    named = rules()
    assert len(named) == RULES.read_text().count("- alert:")
    for expr in (*found, *named):
        selected = _SELECTED.findall(expr)
        assert selected or "up{" in expr, expr
        for name, labels in selected:
            assert name in there, expr
            for label, how, value in _MATCHER.findall(labels):
                if label not in _SCRAPED:
                    values = value.split("|") if "~" in how else [value]
                    assert set(values) <= there[name][label], expr


def test_the_panels_fill_rows_without_overlapping() -> None:
    """24 columns, as Grafana has them; each panel has an id of its own and says what it shows."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells)) == 24 * (max(y for _, y in cells) + 1)
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
