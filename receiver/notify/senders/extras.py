"""Gives a plugin what goes with one message, where it has a place for it: headers, fields, a rank, tags, a tap.

What the target's own URL says wins, except where the target's `priority` names an importance. Afterwards the plugin is
as it was before.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from receiver.core.types import Importance, Target
from receiver.notify.messages.machine_fields import flatten_fields
from receiver.notify.messages.message import Extras

SHORT_MOST = 400  # characters: a service that cuts there gets one line
_ABSENT = object()
_PRIORITY_IN_URL = re.compile(r"[?&]priority=", re.IGNORECASE)
_RANKS: dict[str, dict[Importance, Any]] = {  # by the plugin's `service_name`; the values are the plugins' own
    "ntfy": {
        Importance.LOW: "low",
        Importance.NORMAL: "default",
        Importance.HIGH: "high",
        Importance.URGENT: "max",
    },
    "Pushover": {Importance.LOW: -1, Importance.NORMAL: 0, Importance.HIGH: 1, Importance.URGENT: 2},
    "Gotify": {Importance.LOW: 0, Importance.NORMAL: 5, Importance.HIGH: 8, Importance.URGENT: 10},
    "Prowl": {Importance.LOW: -2, Importance.NORMAL: 0, Importance.HIGH: 1, Importance.URGENT: 2},
}
_EMERGENCY = {"interval": 60, "expire": 3600}  # seconds; Pushover requires both for its highest priority
_TAGS_MOST = 10
_PUSHOVER_MOST = 512  # characters of its link
_NTFY_SAFE = ":/?@&=#"  # what Apprise leaves alone in ntfy's link


def takes_one_line(service: Any) -> bool:
    """Whether the service cuts a message so short that it gets one line."""
    return bool(0 < service.body_maxlen <= SHORT_MOST)


@contextlib.contextmanager
def with_extras(service: Any, target: Target, extras: Extras) -> Iterator[None]:
    """Sets what the plugin has a place for, for one message."""
    changes = _choose_changes(service, target, extras)
    before = {name: getattr(service, name, _ABSENT) for name in changes}
    for name, value in changes.items():
        setattr(service, name, value)
    try:
        with contextlib.ExitStack() as stack:
            if extras.mail is not None:
                from receiver.notify.senders.mail_headers import with_mail_headers

                stack.enter_context(with_mail_headers(service, target, extras))
            yield
    finally:
        for name, value in before.items():
            if value is _ABSENT:
                delattr(service, name)
            else:
                setattr(service, name, value)


def _choose_changes(service: Any, target: Target, extras: Extras) -> dict[str, Any]:
    """The plugin's attributes to change, with their values for this message."""
    name = str(service.service_name)
    changes: dict[str, Any] = {}
    if name in _RANKS and (extras.asked or not _PRIORITY_IN_URL.search(target.url)):
        changes["priority"] = _RANKS[name][extras.importance]
        if name == "Pushover" and extras.importance is Importance.URGENT:
            changes |= {key: getattr(service, key, None) or value for key, value in _EMERGENCY.items()}
    if name == "Telegram" and extras.asked:
        changes["silent"] = extras.importance is Importance.LOW
    if name == "ntfy":
        changes |= _ntfy_changes(service, extras)
    if name == "Pushover" and extras.click and len(extras.click.url) <= _PUSHOVER_MOST and not service.supplemental_url:
        changes |= {"supplemental_url": extras.click.url, "supplemental_url_title": extras.click.words}
    if extras.fields and name in {"JSON", "XML", "Form"}:
        ours = extras.fields if name == "JSON" else flatten_fields(extras.fields)
        changes["payload_extras"] = {**ours, **service.payload_extras}
        if name == "XML":
            changes["xsd_url"] = None  # Apprise's schema does not know our fields
    return changes


def _ntfy_changes(service: Any, extras: Extras) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    own = list(getattr(service, "_NotifyNtfy__tags", None) or ())
    changes["_NotifyNtfy__tags"] = list(dict.fromkeys([*extras.tags, *own]))[:_TAGS_MOST]
    if extras.click and service.click is None and quote(extras.click.url, safe=_NTFY_SAFE) == extras.click.url:
        changes["click"] = extras.click.url  # another URL would be encoded twice, and lead nowhere
    if extras.buttons and not getattr(service, "_NotifyNtfy__actions", None):
        actions = [{"action": "view", "label": it.words, "url": it.url} for it in extras.buttons]
        changes["_NotifyNtfy__actions"] = json.dumps(actions)  # ASCII, as a header has to be
    return changes
