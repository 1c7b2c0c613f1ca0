"""What we change in a plugin's object when a target is opened: how it waits, what it repeats, and whom it links to."""

from datetime import datetime
from typing import Any

from receiver.notify.senders.answers import ANSWERS
from receiver.notify.senders.delivered import DELIVERED

# For an `AppriseAsset`: without them, 18 plugins show a logo that each reader fetches from Apprise's site.
NO_LOGOS: dict[str, Any] = {"app_url": "", "image_url_mask": "", "image_url_logo": "", "image_path_mask": ""}

_ALERTS = {"Opsgenie": "opsgenie_message_map", "Jira": "jira_message_map"}  # and their plugins' default mappings


def override_plugin(service: Any) -> None:
    """Hands out how long a plugin would sleep and which piece of a message comes next; ends its links to Apprise."""
    _hand_out_sleep(service)
    _name_pieces(service)
    if service.service_name in _ALERTS:
        _open_alerts(service)
    if hasattr(service, "xsd_url"):
        service.xsd_url = None  # XML names a schema on Apprise's site
    if service.service_name in {"Discord", "Fluxer"}:
        _drop_empty_links(service)


def _hand_out_sleep(service: Any) -> None:
    throttle = service.throttle

    def throttle_briefly(last_io: datetime | None = None, wait: float | None = None) -> None:
        answers = ANSWERS.get()
        throttle(last_io=last_io, wait=wait if answers is None else answers.allow_wait(wait))

    service.throttle = throttle_briefly


def _name_pieces(service: Any) -> None:
    send_piece = service._timed_send

    def send_known_piece(**named: Any) -> bool:
        if (parts := DELIVERED.get()) is not None:
            parts.begin_piece(repr((named["title"], named["body"])) if named["total"] > 1 else "")
        sent: bool = send_piece(**named)
        return sent

    service._timed_send = send_known_piece


def _open_alerts(service: Any) -> None:
    """Every message opens an alert, unless the URL says otherwise.

    By default, good news closes the alert with the same title and other news becomes a note on it. Our titles differ,
    so there is none: nothing would be sent, and that reported as a success.
    """
    if service.mapping == getattr(service, _ALERTS[service.service_name]) and not (service.alias or service.entity):
        service.mapping = dict.fromkeys(service.mapping, "new")


def _drop_empty_links(service: Any) -> None:
    """Their embeds link the author to `app_url`, and the services take no empty link."""
    send = service._send

    def send_without(payload: dict[str, Any], *args: Any, **named: Any) -> bool:
        for embed in payload.get("embeds") or ():
            author = embed.get("author")
            if isinstance(author, dict) and not author.get("url"):
                author.pop("url", None)
        sent: bool = send(payload, *args, **named)
        return sent

    service._send = send_without
