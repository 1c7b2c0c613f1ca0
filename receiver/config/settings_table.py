"""SETTINGS: every setting with its kind, its default and its help, as data.

`load`, `receiver config`, the example file and the README's table are all made from it, so that they cannot drift.
"""

from typing import Any

from msgspec import Struct

from receiver.config import value_kinds
from receiver.config.targets import URLS
from receiver.config.value_kinds import DAY, AllowedHosts, ValueKind

NOTHING = "–"


class Setting(Struct, frozen=True):
    """One setting: `RECEIVER_NAME`, or `name` in the file. `default` is text, as a person would write it ("": none)."""

    name: str
    kind: ValueKind
    default: str
    help: str
    secret: bool = False
    unset: str = NOTHING  # what the documentation says where there is no default
    absent: Any = None  # the value where there is neither


SETTINGS = (
    Setting(
        "PUBLIC_URL",
        value_kinds.WEB,
        "http://127.0.0.1:8000",
        "What the provider can reach; it goes into the callback URLs.",
    ),
    Setting(
        "HOST",
        value_kinds.HOST,
        "127.0.0.1",
        "The address to listen on; 0.0.0.0 if it is unset and the port came from a bare `PORT`, as platforms set it.",
    ),
    Setting(
        "PORT",
        value_kinds.whole_number(0, 65_535),
        "8000",
        "The port to listen on; 0 takes a free one. A bare `PORT` serves too.",
    ),
    Setting(
        "DATABASE_URL",
        value_kinds.DATABASE,
        "sqlite:///receiver.db",
        "An SQLite file; four slashes make its path absolute; its directory has to be there. A bare one serves too. "
        "`postgresql://…` (not yet).",
        secret=True,
    ),
    Setting(
        "STATE_DIR",
        value_kinds.DIRECTORY,
        "",
        "Where generated secrets and `images/` are kept. Under systemd its `StateDirectory` if unset.",
        unset="the SQLite file's directory",
    ),
    Setting(
        "SECRET_KEYS",
        value_kinds.TOKENS,
        "",
        "Whitespace-separated; the first signs callback URLs, all verify.",
        secret=True,
        unset="generated once into the state directory",
        absent=(),
    ),
    Setting(
        "API_TOKENS",
        value_kinds.TOKENS,
        "",
        "Whitespace-separated; each one opens the API.",
        secret=True,
        unset="generated once into the state directory",
        absent=(),
    ),
    Setting(
        "PROVIDER_URL",
        value_kinds.WEB,
        "https://cloud.vtrix.ai/model/v1/generation",
        "Where tasks are submitted and polled.",
    ),
    Setting(
        "PROVIDER_KEY",
        value_kinds.TOKEN,
        "",
        "Needed to submit and to poll; without it the service still receives.",
        secret=True,
    ),
    Setting(
        "PROVIDER_CONCURRENCY",
        value_kinds.whole_number(1, 1000),
        "10",
        "Tasks that the provider may have in hand at once.",
    ),
    Setting(
        "NOTIFY_URLS",
        URLS,
        "",
        "Whitespace-separated Apprise URLs, each of which gets everything. A target's name is its scheme and six hex "
        "digits of its URL's SHA-256, as in `slack-3fa92c`.",
        secret=True,
        absent=(),
    ),
    Setting(
        "SERVER",
        value_kinds.WEB,
        "",
        "The service that the commands speak to; `serve` ignores it.",
        unset="the local one",
    ),
    Setting(
        "API_TOKEN",
        value_kinds.TOKEN,
        "",
        "Its API token, for the commands; `serve` ignores it.",
        secret=True,
        unset="the local service's",
    ),
    Setting(
        "NOTIFY_RETRY",
        value_kinds.RETRY,
        "5 30 120 600 3600 14400 43200",
        "Seconds between the tries of a send; jitter is added. After the last one it is dead.",
    ),
    Setting(
        "CONFIRM",
        value_kinds.CONFIRM,
        "mismatch",
        "Which callbacks are only hints until a poll confirms them: those that do not match their task, or `always` "
        "all (needs a provider key).",
    ),
    Setting(
        "CONFIRM_WITHIN",
        value_kinds.whole_number(1, DAY, "seconds"),
        "900",
        "Seconds after which a terminal hint that no poll could confirm settles its task, unconfirmed.",
    ),
    Setting(
        "SWEEP_FIRST",
        value_kinds.whole_number(1, DAY, "seconds"),
        "120",
        "Seconds until the first poll of a task whose model has no history.",
    ),
    Setting(
        "SWEEP_MAX", value_kinds.whole_number(1, DAY, "seconds"), "900", "Seconds of the longest gap between polls."
    ),
    Setting(
        "DEADLINE",
        value_kinds.whole_number(1, 30 * DAY, "seconds"),
        "86400",
        "Seconds after its submission at which a task is lost, if a poll does not say otherwise.",
    ),
    Setting("MAX_BODY", value_kinds.whole_number(1024, 4 << 20, "bytes"), "262144", "Bytes that a callback may have."),
    Setting(
        "BODY_TIMEOUT",
        value_kinds.whole_number(1, 300, "seconds"),
        "10",
        "Seconds in which the headers and the body of a callback have to arrive.",
    ),
    Setting(
        "RETENTION",
        value_kinds.RETENTION,
        "tasks=0 callbacks=90d polls=30d notices=90d images=0",
        "How many days things are kept: tasks, and `images` (the copies of pictures), after a task's end, the others "
        "after they were made; 0 keeps for ever. With a task goes all that is its own.",
    ),
    Setting(
        "FETCH_ALLOW",
        value_kinds.ALLOWED,
        "",
        "Hosts and networks from which pictures may be fetched though they are private.",
        absent=AllowedHosts(),
    ),
    Setting(
        "PICTURE_WAIT",
        value_kinds.whole_number(0, 300, "seconds"),
        "15",
        "Seconds that a ping waits for its contact sheet.",
    ),
    Setting(
        "TRUSTED_PROXIES",
        value_kinds.NETWORKS,
        "",
        "Networks of proxies whose X-Forwarded-For is believed: the log tells by it who sent a callback that was "
        "refused. They bound their own clients: only others' connections are limited per address, to 64.",
        absent=(),
    ),
)
