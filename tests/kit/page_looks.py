"""Looks at a page in every width and both schemes: whether it fits, and what axe says of it."""

import json
from importlib import resources
from pathlib import Path

from kit.browser import SHOTS, Scheme, Tab

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WIDTHS = {320: 568, 390: 844, 1440: 900, 3840: 2160}
SCHEMES: dict[int, tuple[Scheme, ...]] = {390: ("dark",), 1440: ("light",)}
"""In which width a page is looked at in which colours; for pictures in both."""
if SHOTS:
    SCHEMES = {390: ("dark", "light"), 1440: ("light", "dark")}


async def find_faults(tab: Tab, name: str, folder: Path) -> list[str]:
    """What is wrong with how the page in a tab looks. A picture of it goes to `SHOTS` as `name`."""
    wrong: list[str] = []
    for width, height in WIDTHS.items():
        await tab.page.set_viewport_size({"width": width, "height": height})
        await tab.settle()
        if overflow := await tab.overflow():
            wrong.append(f"at {width} px it can be scrolled sideways by {overflow} px")
        for scheme in SCHEMES.get(width, ()):
            await tab.page.emulate_media(color_scheme=scheme)
            wrong += [f"{width} px, {scheme}: {it}" for it in await violations(tab)]
            if SHOTS:
                await tab.see_all()
                await tab.shoot(f"{name}-{width}-{scheme}", folder)
    return wrong


async def violations(tab: Tab) -> list[str]:
    """What axe finds. Its script is put in by the debugger, which no policy of the page binds."""
    await tab.evaluate(f"typeof axe === 'undefined' && (() => {{ {AXE} }})()")
    found = await tab.evaluate(f"axe.run(document, {json.dumps(RULES)}).then((it) => it.violations)")
    return [f"{it['id']}: {node['html'][:200]}: {node['failureSummary']}" for it in found for node in it["nodes"][:3]]
