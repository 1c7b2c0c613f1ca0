"""The URLs of targets: which are refused before Apprise sees them, what a target is called, and its style of message.

Apprise is not loaded here, which takes half a second: `serve` loads each URL once it listens, and the doctor too. An
Apprise URL is a secret: errors name the target, or the URL's place in the list, and never show the URL.
"""

import hashlib
import re
from urllib.parse import unquote as decode_percent

from receiver.apprise_schemes import FILE_SCHEMES, NATIVE, SCHEMES
from receiver.config.bad_value import BadValue
from receiver.config.native_hosts import NATIVE_HOSTS
from receiver.config.spellings import split_urls, to_ascii_host
from receiver.config.value_kinds import ValueKind
from receiver.core.types import MessageStyle, Target

TARGETS_MOST = 100
_SCHEME = re.compile(r"([A-Za-z0-9]{1,32})://.")  # as Apprise reads one
_UNSAFE = {  # in the query of an Apprise URL
    "redirect": ("redirect= is not allowed, since redirects are never followed", "remove it from the URL"),
    "attach": ("attach= is not allowed, since only archived pictures are attached", "remove it from the URL"),
    "template": ("template= is not allowed in the URL", "name the file in a [targets.NAME] table: template = FILE"),
}
# Services whose template= names one that is kept there; for others it names a file of ours, or an address.
_OWN_TEMPLATES = frozenset(
    ["gupshup", "kaleyra", "msg91", "notifyre", "onesignal", "pingram", "pushplus", "sendgrid", "sendpulse", "whatsapp"]
)
_STYLES = {
    **dict.fromkeys(("mailto", "mailtos"), MessageStyle.EMAIL),
    "slack": MessageStyle.SLACK,
    "discord": MessageStyle.DISCORD,
    "tgram": MessageStyle.TELEGRAM,
    **dict.fromkeys(("ntfy", "ntfys"), MessageStyle.NTFY),
}
_SLACK_WORKFLOW = re.compile(r"https?://[^/]+/(?:workflows|triggers)/", re.IGNORECASE)
_DISCORD = re.compile(r"https?://(?:(?:canary|ptb|www)\.)?discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/", re.I)


def parse_url(text: str) -> str:
    """The one URL in `text`, without quotes around it, as Apprise reads it. Raises BadValue."""
    urls = split_urls(text)
    if len(urls) > 1 and all(_SCHEME.match(url) for url in urls):
        raise BadValue("it holds several URLs", remedy="give each its own target, so that each is retried on its own")
    if len(urls) > 1 and _SCHEME.match(urls[0]):
        raise BadValue("there is a blank in this URL", remedy="write it as %20")
    if len(urls) != 1:
        raise _not_a_url()
    url = _DISCORD.sub("https://discord.com/api/webhooks/", urls[0])  # as the web, beta and app clients hand it out
    check_url(url)
    return url if url.isascii() else _with_ascii_host(url)


def _with_ascii_host(url: str) -> str:
    """The URL with a host such as `bücher.example` as DNS has it; Apprise does not know such names."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, place = authority.rpartition("@")
    host = place.partition(":")[0]
    if "." not in host:  # for some services a token or a room is there
        return url
    try:
        ascii_host = to_ascii_host(f"http://{host}").removeprefix("http://")
    except ValueError:
        return url
    return f"{scheme}://{user}{at}{ascii_host}{place[len(host) :]}{rest[len(authority) :]}"


def check_url(url: str) -> None:
    """Raise BadValue if an Apprise URL has an unknown scheme, would read or write files, or would follow redirects."""
    scheme = _SCHEME.match(url)
    if not scheme or re.search(r"\s", url):
        raise _not_a_url()
    if scheme[1].lower() == "file":
        raise BadValue("file:// would write to this machine's disk", remedy="use a service that sends messages")
    for field in re.split("[?&;]", url)[1:]:
        # Apprise decodes keys, strips blanks and ignores case.
        key = decode_percent(field.partition("=")[0].replace("+", " ")).strip().lower()
        if key in _UNSAFE and not (key == "template" and scheme[1].lower() in _OWN_TEMPLATES):
            problem, remedy = _UNSAFE[key]
            raise BadValue(problem, remedy=remedy)
    if scheme[1].lower() not in SCHEMES | NATIVE:
        raise _unknown_scheme(scheme[1].lower())


def service_of(url: str) -> str:
    """The scheme of the service that a URL is for: of a web address as a service hands it out, that service's."""
    scheme, _, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if scheme not in NATIVE:
        return scheme
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0].lower()
    labels = host.split(".")
    ends = (".".join(labels[at:]) for at in range(len(labels)))
    return next((NATIVE_HOSTS[place] for place in (*ends, labels[0]) if place in NATIVE_HOSTS), scheme)


def style_of(url: str) -> MessageStyle:
    """The message style for an Apprise URL's service; text if the URL asks for a format of its own."""
    if re.search(r"[?&]format=", url, re.IGNORECASE) or _SLACK_WORKFLOW.match(url):
        return MessageStyle.TEXT
    return _STYLES.get(service_of(url), MessageStyle.TEXT)


def takes_files(url: str) -> bool:
    """Whether an Apprise URL's service takes a picture as a file."""
    return service_of(url) in FILE_SCHEMES


def simple_name(url: str) -> str:
    """The name of a target from NOTIFY_URLS: its service and six hex digits of the URL's SHA-256 (`slack-3fa92c`)."""
    return f"{service_of(url)}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def _not_a_url() -> BadValue:
    return BadValue(
        "this is not an Apprise URL",
        remedy="a Slack webhook starts with https://, others look like mailto://user:password@host",
    )


def _unknown_scheme(scheme: str) -> BadValue:
    """The error for an unknown scheme. It names the nearest one, and never the scheme itself: it may be a secret."""
    import difflib  # only for a start that fails

    problem = "no service has this URL's scheme"
    if near := difflib.get_close_matches(scheme, sorted(SCHEMES), 1, 0.6):
        return BadValue(f"{problem} (did you mean {near[0]}://?)")
    return BadValue(problem, remedy="https://appriseit.com/services/ lists all services")


def _parse_simple_targets(text: str) -> tuple[Target, ...]:
    """A target for each Apprise URL of NOTIFY_URLS; each gets everything, and equal URLs are one target."""
    found: dict[str, Target] = {}
    words = list(split_urls(text))
    for place, word in enumerate(words, 1):
        try:
            url = parse_url(word)
        except BadValue as error:
            if _SCHEME.match(word):
                which = f"target {simple_name(word)}: "
            else:
                which = f"URL number {place}: " if len(words) > 1 else ""
            raise BadValue(f"{which}{error.problem}", remedy=error.remedy) from None
        target = Target(name=simple_name(url), url=url, style=style_of(url), takes_files=takes_files(url))
        found.setdefault(url, target)
    if len(found) > TARGETS_MOST:
        raise BadValue(f"there are {len(found)} targets", remedy=f"leave {TARGETS_MOST} at most")
    return tuple(found.values())


URLS = ValueKind("Apprise URLs", _parse_simple_targets)
