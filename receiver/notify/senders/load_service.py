"""Loads the one module of Apprise that serves a URL. Apprise itself would load all of them: 10 MB and 0.3 s."""

import importlib
from typing import TYPE_CHECKING, Any

from receiver.apprise_schemes import MODULES

if TYPE_CHECKING:
    from apprise import AppriseAsset


def load_service(url: str, asset: "AppriseAsset") -> Any | None:
    """Apprise's service of `url`, made as Apprise makes it; None if it has to say itself what is wrong with the URL, or
    to look for the service."""
    from apprise.utils.parse import parse_urls

    scheme = url.partition("://")[0].strip().lower()
    if scheme not in MODULES or parse_urls(url) != [url]:  # type: ignore[no-untyped-call]
        return None
    module = importlib.import_module(f"apprise.plugins.{MODULES[scheme]}")
    plugin = next((it for it in vars(module).values() if scheme in _schemes_of(it)), None)
    if plugin is None or not plugin.enabled:
        return None
    try:
        arguments = plugin.parse_url(url)
        service = plugin(**arguments, asset=asset, tag=set()) if arguments else None
    except Exception:  # as Apprise does; it then logs the reason
        return None
    return service if service is not None and service.enabled else None


def _schemes_of(thing: Any) -> frozenset[str]:
    is_plugin = isinstance(thing, type) and hasattr(thing, "schemas")
    return frozenset(thing.schemas(thing)) if is_plugin else frozenset()
