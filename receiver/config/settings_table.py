"""SETTINGS: every setting with its kind, its default and its help, as data.

`load_settings`, `receiver config`, the example file and the README's table are all made from it, so they cannot drift.
"""

from typing import Any

from msgspec import Struct

from receiver.config import value_kinds
from receiver.config.target_urls import URLS
from receiver.config.value_kinds import DAY, AllowedHosts, ValueKind

NOTHING = "–"


class Setting(Struct, frozen=True):
    """One setting: `RECEIVER_NAME`, or `name` in the file. `default` is text as a person would write it; "" is none."""

    name: str
    kind: ValueKind
    default: str
    help: str
    secret: bool = False
    unset: str = NOTHING  # what the documentation shows if there is no default
    absent: Any = None  # the value if it is not set and has no default


SETTINGS = (
    Setting(
        "PUBLIC_URL",
        value_kinds.WEB,
        "http://127.0.0.1:8000",
        "The URL at which the provider can reach this service. Callback URLs begin with it. The default has the port of"
        " PORT.",
    ),
    Setting(
        "HOST",
        value_kinds.HOST,
        "127.0.0.1",
        "The address to listen on. If it is unset and a platform sets a bare `PORT`, it is 0.0.0.0.",
    ),
    Setting(
        "PORT",
        value_kinds.whole_number(0, 65_535),
        "8000",
        "The port to listen on; 0 takes a free one. A bare `PORT` works too.",
    ),
    Setting(
        "DATABASE_URL",
        value_kinds.DATABASE,
        "sqlite:///receiver.db",
        "An SQLite file, whose directory must exist; four slashes make the path absolute, else it counts from the "
        "settings file. Or a PostgreSQL database, `postgresql://USER:PASSWORD@HOST/DATABASE`, for several processes: "
        "it needs `STATE_DIR` and `SECRET_KEYS`. A bare `DATABASE_URL` works too.",
        secret=True,
    ),
    Setting(
        "DATABASE_LISTEN_URL",
        value_kinds.POSTGRES,
        "",
        "PostgreSQL only, and needed if `DATABASE_URL` leads to a pooler such as pgbouncer: the same database without "
        "it, for the one connection that listens to other processes.",
        secret=True,
        unset="`DATABASE_URL`",
    ),
    Setting(
        "POOL",
        value_kinds.whole_number(2, 100),
        "6",
        "PostgreSQL only: connections that a process may use beside its own two or three.",
    ),
    Setting(
        "STATE_DIR",
        value_kinds.DIRECTORY,
        "",
        "Where generated secrets and `images/` are kept; if unset under systemd, its `StateDirectory`. With PostgreSQL "
        "it is a directory that all processes share.",
        unset="the SQLite file's directory; needed with PostgreSQL",
    ),
    Setting(
        "SECRET_KEYS",
        value_kinds.TOKENS,
        "",
        "Whitespace-separated. The first one signs callback URLs; all of them verify.",
        secret=True,
        unset="generated once into the state directory; needed with PostgreSQL",
        absent=(),
    ),
    Setting(
        "API_TOKENS",
        value_kinds.TOKENS,
        "",
        "Whitespace-separated. Each one opens the API.",
        secret=True,
        unset="generated once into the state directory",
        absent=(),
    ),
    Setting(
        "PASSWORD_HASH",
        value_kinds.PASSWORD_HASH,
        "",
        "Of the pages' password. `receiver password` sets one without this setting; without either, the pages ask for "
        "an API token.",
        secret=True,
        unset="what `receiver password` wrote into the state directory",
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
        "Needed to submit and to poll. Without it the service still receives callbacks.",
        secret=True,
    ),
    Setting(
        "PROVIDER_CONCURRENCY",
        value_kinds.whole_number(1, 1000),
        "10",
        "Tasks that the provider may work on at once.",
    ),
    Setting(
        "BUDGET_DAY",
        value_kinds.BUDGET,
        "",
        "The most to spend in a day, in USD, perhaps with the time zone in which days begin (else UTC): "
        "`20 Europe/Berlin`. At it, queued tasks wait for the next day. A task counts when it is submitted, at first "
        "with what it is expected to cost.",
    ),
    Setting(
        "BUDGET_MONTH",
        value_kinds.BUDGET,
        "",
        "The most to spend in a calendar month, likewise.",
    ),
    Setting(
        "NOTIFY_URLS",
        URLS,
        "",
        "Apprise URLs, or webhooks as Slack, Discord and others hand them out, with blanks or commas between; each "
        "gets every message. Such a target's name is its service and six hex digits of its URL's SHA-256, as in "
        "`slack-3fa92c`.",
        secret=True,
        absent=(),
    ),
    Setting(
        "SERVER",
        value_kinds.WEB,
        "",
        "The URL of the service that the commands call. `serve` ignores it.",
        unset="the local one",
    ),
    Setting(
        "API_TOKEN",
        value_kinds.TOKEN,
        "",
        "The API token that the commands use there. `serve` ignores it.",
        secret=True,
        unset="the local service's",
    ),
    Setting(
        "NOTIFY_RETRY",
        value_kinds.RETRY,
        "5 30 120 600 3600 14400 43200",
        "Seconds to wait before each further try of a failed send, with jitter added. If the last try fails too, its "
        "notices are dead.",
    ),
    Setting(
        "SENDERS",
        value_kinds.whole_number(1, 64),
        "",
        "Messages that a process sends at once, each to another target.",
        unset="one a target, at most 32; 8 with PostgreSQL",
    ),
    Setting(
        "CONFIRM",
        value_kinds.CONFIRM,
        "mismatch",
        "Which callbacks are only hints until a poll confirms them: `mismatch`, those that do not match their task; "
        "`always`, all of them (this needs a provider key).",
    ),
    Setting(
        "CONFIRM_WITHIN",
        value_kinds.whole_number(1, DAY, "seconds"),
        "900",
        "Seconds that polls have to confirm a hint of a task's end. After that, the hint settles the task, marked "
        "unconfirmed.",
    ),
    Setting(
        "SWEEP_FIRST",
        value_kinds.whole_number(1, DAY, "seconds"),
        "120",
        "Seconds until the first poll of a task whose model has no history yet.",
    ),
    Setting(
        "SWEEP_MAX",
        value_kinds.whole_number(1, DAY, "seconds"),
        "900",
        "The longest gap between polls, in seconds.",
    ),
    Setting(
        "DEADLINE",
        value_kinds.whole_number(1, 30 * DAY, "seconds"),
        "86400",
        "Seconds after its submission at which a task counts as lost, unless a poll says otherwise.",
    ),
    Setting("MAX_BODY", value_kinds.whole_number(1024, 4 << 20, "bytes"), "262144", "The largest callback, in bytes."),
    Setting(
        "BODY_TIMEOUT",
        value_kinds.whole_number(1, 300, "seconds"),
        "10",
        "Seconds within which the headers and the body of a callback have to arrive.",
    ),
    Setting(
        "RETENTION",
        value_kinds.RETENTION,
        "tasks=0 callbacks=90d polls=30d notices=90d images=0",
        "How many days things are kept; 0 is for ever. For tasks and `images` (the copies of pictures) the days count "
        "from the task's end, for the others from their own creation. With a task goes all that belongs to it.",
    ),
    Setting(
        "FETCH_ALLOW",
        value_kinds.ALLOWED,
        "",
        "Private hosts and networks from which pictures may be fetched; others are refused.",
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
        "Networks of proxies whose X-Forwarded-For is believed, so that the log can name who sent a refused callback "
        "or a wrong password. Connections from these networks are not limited; any other address may have 64 at once.",
        absent=(),
    ),
)
