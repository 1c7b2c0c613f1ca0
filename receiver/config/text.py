"""Settings as text for people: `receiver config`, its `--example` file, and the README's table.

Pure. All three are made from SETTINGS, so they cannot drift from what `load_settings` does. No secret is ever shown.
"""

import json
import textwrap
from typing import Any

from msgspec import Struct

from receiver.config.settings import Settings
from receiver.config.settings_table import NOTHING, SETTINGS, Setting
from receiver.config.target_pacing import UNITS_MS
from receiver.config.target_urls import simple_name
from receiver.config.targets import DEFAULT_EVENTS
from receiver.core.types import Target

MASK = "•••"

_HEAD = """\
# Settings of `receiver`. A setting that is commented out here has its default; an empty one counts as unset.
# The environment wins: RECEIVER_PORT over port. Instead of a secret, RECEIVER_..._FILE may name a file that holds it.
"""

_TARGETS = """
# A target with a name and options of its own, if NOTIFY_URLS is not enough. Only `url` is required. `on` may name
# completed, failed, lost, attention and batch; with `models` or `labels`, the target hears only of tasks that match.
# `template` names a Jinja2 file beside this one, whose first line is the title. With `digest` (10s to 1d), all that
# follows a message within that time is sent as one. In `quiet` hours only the events of `quiet_except` are sent, and
# the rest afterwards, as one message. `rate` limits the messages per second (s), minute (m) or hour (h). `priority`
# says how important an event is (low, normal, high or urgent), where the service has ranks.
#
# [targets.team]
# url = "slack://TokenA/TokenB/TokenC"
# on = ["completed", "failed", "lost", "attention", "batch"]
# models = ["*_outpaint"]
# labels = ["hero*"]
# template = "team.j2"
# digest = "5m"
# quiet = "22:00-07:00 Europe/Berlin"
# quiet_except = ["failed"]
# rate = "10/m"
# priority = { failed = "urgent", completed = "low" }
"""

_PRICES = """
# What a task of a model is expected to cost in USD, for the budgets, before a task of it has reported its cost.
#
# [prices]
# midjourney_outpaint = 0.05
"""

_PRICES_ROW = (
    "| `[prices]` | – | File only: what a task of a model is expected to cost in USD, before one of it has reported "
    "its cost, as in `midjourney_outpaint = 0.05`. |"
)

_TARGETS_ROW = (
    "| `[targets.NAME]` | – | File only: `url`, and optionally `on` (default: completed, failed, lost, attention, "
    "batch), `models`, `labels`, `template`, `digest`, `quiet`, `quiet_except`, `rate`, `priority`: "
    "see `receiver config --example`. |"
)


class SettingRow(Struct, frozen=True):
    """One line of `receiver config`: a setting's name, its value with secrets masked, and where it came from."""

    name: str
    shown: str
    source: str


def describe_settings(settings: Settings) -> tuple[SettingRow, ...]:
    """Every setting in the table's order, then a row for each [targets.NAME]."""
    rows = [
        SettingRow(setting.name, _display_value(setting, settings), source)
        for setting, source in zip(SETTINGS, settings.sources, strict=True)
    ]
    source = f"file {settings.place.file}"
    tabled = (target for target in settings.targets if not _is_simple(target))
    return (*rows, *(SettingRow(f"[targets.{target.name}]", _target_summary(target), source) for target in tabled))


def example_toml() -> str:
    """A commented receiver.toml. As it is, and also with every `#name = …` uncommented, it loads to the defaults."""
    parts = [_HEAD]
    for setting in SETTINGS:
        is_clear = setting.default or setting.unset == NOTHING
        note = setting.help if is_clear else f"{setting.help} Default: {setting.unset}."
        lines = textwrap.wrap(note, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        parts.append("\n".join(["", *lines, f"#{setting.name.lower()} = {_toml_value(setting)}", ""]))
    return "".join([*parts, _PRICES, _TARGETS])


def markdown_table() -> str:
    """The README's table of settings, with a final newline."""
    lines = ["| setting | default | |", "|---|---|---|"]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else setting.unset
        lines.append(f"| `{setting.name}` | {default} | {setting.help.replace('|', chr(92) + '|')} |")
        if setting.name == "BUDGET_MONTH":
            lines.append(_PRICES_ROW)
        if setting.name == "NOTIFY_URLS":
            lines.append(_TARGETS_ROW)
    return "\n".join(lines) + "\n"


def _toml_value(setting: Setting) -> str:
    return setting.default if setting.default.isdigit() else json.dumps(setting.default)


def _display_value(setting: Setting, settings: Settings) -> str:
    if setting.name == "NOTIFY_URLS":
        return " ".join(target.name for target in settings.targets if _is_simple(target)) or setting.unset
    value: Any = getattr(settings, setting.name.lower())
    if value == setting.absent:
        return setting.unset
    if setting.name in ("DATABASE_URL", "DATABASE_LISTEN_URL"):
        return _mask_url(value)
    if setting.secret:
        return MASK
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _mask_url(database_url: str) -> str:
    """The URL with its user, password and query masked: a password may be in any of them."""
    scheme, _, rest = database_url.partition("://")
    user, at, place = rest.rpartition("@")
    place, question, _ = place.partition("?")
    return f"{scheme}://{MASK if user else ''}{at}{place}{question}{MASK if question else ''}"


def _is_simple(target: Target) -> bool:
    return target.name == simple_name(target.url)


def _target_summary(target: Target) -> str:
    scheme = target.url.partition("://")[0].lower()
    parts = [f"{scheme}://{MASK}"]
    parts += [f"on {' '.join(sorted(target.on))}"] if target.on != frozenset(DEFAULT_EVENTS) else []
    parts += [f"digest {_format_span(target.digest_ms)}"] if target.digest_ms else []
    if target.quiet is not None:
        hours = "-".join(f"{at // 60:02}:{at % 60:02}" for at in (target.quiet.start, target.quiet.end))
        but = f" except {' '.join(sorted(target.quiet_except))}" if target.quiet_except else ""
        parts.append(f"quiet {hours} {target.quiet.zone}{but}")
    parts += [f"labels {' '.join(target.labels)}"] if target.labels else []
    parts += [f"models {' '.join(target.models)}"] if target.models else []
    if target.template is not None:
        parts.append(f"template {target.template_file}" if target.template_file else "a template of its own")
    if target.rate is not None:
        parts.append(f"rate {target.rate.count}/{_format_span(target.rate.per_ms).removeprefix('1')}")
    if target.priority:
        parts.append(f"priority {' '.join(f'{event} {rank}' for event, rank in sorted(target.priority.items()))}")
    return "; ".join(parts)


def _format_span(span_ms: int) -> str:
    """A span as the file spells it, in the largest unit that fits: `5m`."""
    unit, size = max((it for it in UNITS_MS.items() if span_ms % it[1] == 0), key=lambda it: it[1])
    return f"{span_ms // size}{unit}"
