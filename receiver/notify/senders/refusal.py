"""Why Apprise refuses a target's URL, in its own words, and what to do: a package to install, a URL to correct."""

import importlib
import logging
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from receiver.apprise_schemes import MODULES, NATIVE
from receiver.core.errors import ReceiverError
from receiver.core.sanitize import one_line
from receiver.notify.senders.failure_text import redact_url

if TYPE_CHECKING:
    from apprise import AppriseAsset

SERVICES = "https://appriseit.com/services/"
REASON_MOST = 200  # characters of Apprise's reason
# What Apprise logs about every URL that it does not take.
_NO_REASON = ("Could not load", "Unparseable", "Unsupported", "Failed to parse", "Invalid URL", "Loaded")


class UnusableUrl(ReceiverError):
    """A target's URL that can never work; its text never shows the URL."""


def explain_refusal(url: str, scheme: str, asset: "AppriseAsset") -> UnusableUrl:
    """Why Apprise refused `url`, whose scheme is `scheme`. Loads it once more, to hear the reason."""
    from apprise import Apprise

    plugin = _plugin_of(scheme)
    if plugin is not None and not plugin.enabled:
        return _explain_disabled(plugin, scheme)
    with _Listener() as heard:
        try:
            Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
            raised = ""
        except Exception as error:
            raised = str(error)
    if scheme in NATIVE and not raised:
        own = f"json{'s' if scheme == 'https' else ''}://HOST/PATH"
        return UnusableUrl(
            f"no service has webhooks at this {scheme}:// address, or a part of it is missing",
            remedy=f"copy it again; for a webhook of your own write {own}; {SERVICES} shows the URLs of each service",
        )
    reasons = [raised, *(line for line in heard.lines if not line.startswith(_NO_REASON))]
    reason = next((first for text in reasons if (first := text.strip().partition("\n")[0])), "")
    problem = f"Apprise cannot use this {scheme}:// URL" if scheme else "this is not a URL (SERVICE://…)"
    if reason:
        problem += f": {one_line(redact_url(reason, url), REASON_MOST).rstrip('.:')}"
    if needed := re.search(r"\brequires? ([\w.-]+) to be installed", reason):
        return UnusableUrl(problem, remedy=_pip_install(needed[1]))
    return UnusableUrl(problem, remedy=f"{_page_of(plugin)} shows how its URL is written")


def without_recipient(service: Any) -> UnusableUrl:
    """Apprise loads the URL, and would never send anything."""
    return UnusableUrl(
        "its URL names no recipient that the service accepts", remedy=f"{_page_of(service)} shows how to name one"
    )


def _page_of(plugin: Any) -> str:
    page = getattr(plugin, "setup_url", None)
    return page if isinstance(page, str) and page.startswith(SERVICES) else SERVICES


def _pip_install(packages: str) -> str:
    return f"run `{sys.executable} -m pip install {packages}`, then restart the service"


def _explain_disabled(plugin: Any, scheme: str) -> UnusableUrl:
    """A service whose package, or library, is missing here. Apprise keeps in `requirements` what it needs."""
    needs = getattr(plugin, "requirements", None) or {}
    packages = needs.get("packages_required") or []
    packages = [packages] if isinstance(packages, str) else [str(each) for each in packages]
    if packages:
        names = f"package{'s' if len(packages) > 1 else ''} {' and '.join(packages)}"
        quoted = " ".join(f"'{each.replace(' ', '')}'" for each in packages)
        return UnusableUrl(
            f"{scheme}:// needs the {names}, which this program does not have",
            remedy=_pip_install(quoted),
        )
    what = one_line(str(needs.get("details") or "it is for another kind of machine"), REASON_MOST).rstrip(".")
    return UnusableUrl(f"{scheme}:// does not work on this machine: {what}", remedy="use another service")


def _plugin_of(scheme: str) -> Any | None:
    """Apprise's class for a scheme."""
    if scheme not in MODULES:
        return None
    try:
        module = importlib.import_module(f"apprise.plugins.{MODULES[scheme]}")
    except Exception:  # of a library that the plugin needs
        return None
    for thing in vars(module).values():
        if isinstance(thing, type) and hasattr(thing, "schemas") and scheme in thing.schemas(thing):
            return thing
    return None


class _Listener(logging.Handler):
    """What Apprise logs in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()
        self._logger = logging.getLogger("apprise")

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and len(self.lines) < 20:
            self.lines.append(record.getMessage())

    def __enter__(self) -> "_Listener":
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
